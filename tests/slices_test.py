"""Slices hold the samples that their names say, with those samples' figures."""

import dataclasses
import json

import numpy as np
import pytest

from dicm_jax import metrics, slices
from dicm_jax.data import click_log
from tests import toy

DAY = 86_400_000


def log_of(days, ad_image, label=None, histories=()):
  """A log with a group for each sample."""
  n = len(days)
  lengths = np.array(histories or [0] * n)
  return click_log.ClickLog(
    user_ids={},
    ad_ids={},
    behaviour_images=click_log.Jagged(
      np.zeros(lengths.sum(), int), np.concatenate([[0], np.cumsum(lengths)])
    ),
    ad_image=np.array(ad_image),
    label=np.zeros(n) if label is None else np.array(label, float),
    group=np.arange(n),
    user=np.arange(n) // 2,
    time=(np.array(days) * DAY).astype(np.int64),
  )


def data_of(train, test, no_image=None):
  return click_log.Dataset(
    features=(),
    train=train,
    test=test,
    image_names=(),
    image_bytes=(),
    no_image=no_image,
  )


def counts(table, cut):
  """Impressions of the slices that have any."""
  return {
    part["slice"]: part["impressions"]
    for part in table[cut]
    if part["impressions"]
  }


def table_of(data):
  return slices.table(data, np.linspace(0.1, 0.9, data.test.num_samples))


def test_age_counts_from_the_first_time_training_showed_the_image():
  train = log_of([10, 8, 9.5, 3, 30], [1, 1, 2, 3, 5])
  test = log_of([10, 11.4, 11.5, 18, 18, 20], [1, 2, 2, 3, 4, 5])
  data = data_of(train, test)
  assert slices.ad_age_days(data).tolist() == [2, 1, 2, 15, -1, 0]
  assert counts(table_of(data), "ad_age_days") == {
    "new": 1,
    "0-1": 2,
    "2-3": 2,
    "15-30": 1,
  }


def test_cut_by_unknown_times_is_left_out():
  train, test = log_of([1], [1]), log_of([2], [1])
  for known in (
    data_of(dataclasses.replace(train, time=None), test),
    data_of(train, dataclasses.replace(test, time=None)),
  ):
    table = table_of(known)
    assert "ad_age_days" not in table
    assert counts(table, "ad_impressions") == {"1-9": 1}


@pytest.mark.parametrize(
  ("shown", "name"),
  [
    (0, "never"),
    (1, "1-9"),
    (9, "1-9"),
    (10, "10-99"),
    (99, "10-99"),
    (100, "100-999"),
    (999, "100-999"),
    (1000, "1000+"),
    (1500, "1000+"),
  ],
)
def test_frequency_is_the_count_of_training_impressions(shown, name):
  train = log_of([1] * (shown + 3), [7] * shown + [2] * 3)
  data = data_of(train, log_of([2, 2], [7, 2]))
  found = counts(table_of(data), "ad_impressions")
  assert found == ({"1-9": 2} if name == "1-9" else {"1-9": 1, name: 1})


def test_history_is_that_of_the_samples_group():
  lengths = [0, 1, 9, 10, 49, 50, 300]
  test = log_of([2] * 7, [1] * 7, histories=lengths)
  data = data_of(log_of([1], [1]), test)
  assert slices.history_length(data).tolist() == lengths
  assert counts(table_of(data), "history_length") == {
    "0": 1,
    "1-9": 2,
    "10-49": 2,
    "50+": 2,
  }


def test_ads_without_a_picture_are_cut_by_that_alone():
  train = log_of([1, 1, 1], [0, 0, 3])
  test = log_of([2, 2, 2, 2], [0, 3, 0, 4])
  table = table_of(data_of(train, test, no_image=0))
  assert counts(table, "picture") == {"missing": 2, "present": 2}
  assert counts(table, "ad_impressions") == {"never": 1, "1-9": 1}
  assert counts(table, "ad_age_days") == {"new": 1, "0-1": 1}
  assert counts(table, "history_length") == {"0": 4}
  # Where every ad has a picture, row 0 is one like all others.
  table = table_of(data_of(train, test))
  assert counts(table, "picture") == {"present": 4}
  assert counts(table, "ad_impressions") == {"never": 1, "1-9": 3}


def test_figures_are_those_of_the_slices_samples():
  train = log_of([1], [1])
  test = log_of([2] * 6, [1, 1, 2, 2, 2, 2], label=[1, 0, 0, 1, 0, 0])
  p = np.array([0.5, 0.25, 0.5, 0.25, 0.75, 0.5])
  never, seen = slices.table(data_of(train, test), p)["ad_impressions"][:2]
  half, quarter = np.log(2), np.log(4)
  assert seen == {
    "slice": "1-9",
    "impressions": 2,
    "clicks": 1,
    "auc": 1.0,
    "gauc": 1.0,
    "logloss": pytest.approx((half - np.log(0.75)) / 2, rel=1e-12),
    "calibration": 0.75,
  }
  # The click's .25 is below all; its user has only .5 beside it.
  assert never == {
    "slice": "never",
    "impressions": 4,
    "clicks": 1,
    "auc": 0.0,
    "gauc": 0.0,
    "logloss": pytest.approx((2 * half + 2 * quarter) / 4, rel=1e-12),
    "calibration": 2.0,
  }


def test_what_a_slice_does_not_have_is_null():
  train = log_of([1], [1])
  test = log_of([2, 2], [1, 1], label=[0, 0])
  table = table_of(data_of(train, test))
  empty, one_label = table["ad_impressions"][:2]
  for part in (empty, one_label):
    assert part["auc"] is part["gauc"] is part["calibration"] is None
    assert part["clicks"] == 0
  assert empty["logloss"] is None
  assert one_label["logloss"] > 0
  json.dumps(table, allow_nan=False)


def test_slices_of_a_cut_share_the_impressions():
  data = toy.dataset()
  table = table_of(data)
  assert list(table) == list(slices.CUTS)
  for parts in table.values():
    total = sum(part["impressions"] for part in parts)
    clicks = sum(part["clicks"] for part in parts)
    assert total == data.test.num_samples
    assert clicks == data.test.label.sum()


def test_the_whole_in_one_slice_has_the_figures_of_all():
  data = toy.dataset()
  p = np.random.default_rng(0).random(data.test.num_samples)
  _, present = slices.table(data, p)["picture"]
  label, user = data.test.label, data.test.user[data.test.group]
  assert present["auc"] == metrics.auc(label, p)
  assert present["gauc"] == metrics.gauc(label, p, user)
