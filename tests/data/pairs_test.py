"""Pairs: which clicks, which counterparts, which anchor, in which order."""

import dataclasses

import numpy as np
import pytest

from dicm_jax import errors
from dicm_jax.data import click_log, pairs

# Page views: no history; two clicks and two others; all clicked; none clicked;
# one of each.
LABEL = np.array([1, 0, 1, 0, 1, 0, 1, 1, 0, 0, 1.0])
GROUP = np.array([0, 0, 1, 1, 1, 1, 2, 2, 3, 4, 4])
HISTORY = ([], [7, 3], [5], [6], [2, 9, 8])


def log(label=LABEL) -> click_log.ClickLog:
  lengths = [len(h) for h in HISTORY]
  return click_log.ClickLog(
    user_ids={},
    ad_ids={},
    behaviour_images=click_log.Jagged(
      np.array([v for h in HISTORY for v in h]),
      np.concatenate([[0], np.cumsum(lengths)]),
    ),
    ad_image=100 + np.arange(len(label)),
    label=label,
    group=GROUP,
    user=np.arange(len(HISTORY)),
  )


EVERY = np.ones(len(LABEL), bool)


def find(made, shown=EVERY):
  return pairs.find(made, shown, pairs.last_clicks(made))


def test_clicks_have_an_earlier_click_and_something_beside_them():
  found = find(log())
  assert found.sample.tolist() == [2, 4, 10]
  assert found.anchor.tolist() == [3, 3, 8]
  beside = [
    found.others[first : first + count].tolist()
    for first, count in zip(found.first, found.choices, strict=True)
  ]
  assert beside == [[3, 5], [3, 5], [9]]


def test_ads_without_a_picture_are_in_no_pair():
  shown = EVERY.copy()
  shown[[4, 5]] = False
  found = find(log(), shown)
  assert found.sample.tolist() == [2, 10]
  assert found.choices.tolist() == [1, 1]
  _, other = pairs.draw(found, np.random.default_rng(0))
  assert other.tolist() == [3, 9]


def test_query_takes_the_place_of_an_earlier_click():
  made = dataclasses.replace(log(), query=np.array([5, pairs.NONE, 0, 1, 5]))
  found = pairs.find(made, EVERY, pairs.queries(made))
  # The first page view has no history, the second no query.
  assert found.sample.tolist() == [0, 10]
  assert found.anchor.tolist() == [5, 5]
  assert found.others[found.first].tolist() == [1, 9]


def test_log_without_queries_says_how_to_add_them():
  with pytest.raises(errors.InputError, match=r'\[log\] query = "COLUMN"'):
    pairs.queries(log())
  blank = dataclasses.replace(log(), query=np.full(5, pairs.NONE))
  with pytest.raises(errors.InputError, match="and a search query, found none"):
    pairs.find(blank, EVERY, pairs.queries(blank))


def test_log_without_pairs_is_refused():
  with pytest.raises(errors.InputError, match="found none in the data set"):
    find(log(np.zeros(len(LABEL))))


def test_counterparts_are_drawn_evenly():
  found = find(log())
  rng = np.random.default_rng(0)
  drawn = np.stack([pairs.draw(found, rng)[1] for _ in range(2000)])
  # 2 000 throws of a coin: five standard deviations are .056.
  assert abs((drawn[:, 0] == 3).mean() - 0.5) < 0.056
  assert set(drawn[:, 2].tolist()) == {9}


def test_every_epoch_has_every_click_once_in_another_order():
  made = log()
  order = pairs.shuffled(made, find(made), seed=0, batch_size=2)
  clicked = np.concatenate([order(step).clicked for step in range(30)])
  epochs = clicked.reshape(-1, 3)
  assert (np.sort(epochs, axis=1) == [102, 104, 110]).all()
  assert len(np.unique(epochs, axis=0)) > 3


def test_batches_depend_on_seed_and_step_alone():
  made = log()
  found = find(made)
  first, again, other = (
    pairs.shuffled(made, found, seed=seed, batch_size=5) for seed in (0, 0, 1)
  )
  first(0)  # What was asked before does not matter.
  np.testing.assert_array_equal(first(7), again(7))
  assert not np.array_equal(np.stack(again(7)), np.stack(other(7)))
