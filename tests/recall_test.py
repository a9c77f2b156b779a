"""Recall and hit rate are those counted by hand, and chance's those drawn."""

import dataclasses

import jax
import numpy as np
import pytest

from dicm_jax import errors, recall, retrieval
from dicm_jax.data import click_log, held_out, vectors
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import top_k
from tests import toy


def jagged(*lists):
  offsets = np.cumsum([0, *map(len, lists)])
  return click_log.Jagged(np.concatenate(lists), offsets)


HELD = held_out.HeldOut(
  past=jagged([0], [1, 1, 2], [3]),
  clicked=jagged([4, 5, 6], [0], [7, 9]),
  query=None,
  user=np.array([0, 1, 0]),
  left_out=0,
)


def catalogue(keys, values, similarity="cosine"):
  mesh = mesh_lib.make_mesh(1, 2, jax.devices()[:2])
  items = vectors.Vectors(keys=tuple(keys), values=values, encoder="net")
  return retrieval.exact(items, mesh, similarity)


@pytest.mark.parametrize("block", [1, 2, 512])
def test_recall_and_hit_rate_by_hand(monkeypatch, block):
  monkeypatch.setattr(recall, "_BLOCK", block)
  given = {0: [5, 1, 4], 1: [2, 3, 4], 3: [9, 8, 0]}

  def recommend(held):
    first = held.past.values[held.past.offsets[:-1]].tolist()
    rows = np.array([given[item] for item in first])
    return top_k.Found(rows, np.zeros(rows.shape))

  found = recall.score(HELD, recommend)
  assert found.recall.tolist() == [2 / 3, 0, 1 / 2]
  assert found.hit_rate.tolist() == [1, 0, 1]


def test_most_popular_are_the_first_not_seen():
  ranking = np.array([2, 0, 1, 3, 4])
  past = jagged([1], [2, 2, 0])
  alike = recall.most_popular(ranking, past, 2, exclude_seen=False)
  assert alike.rows.tolist() == [[2, 0], [2, 0]]
  new = recall.most_popular(ranking, past, 2, exclude_seen=True)
  assert new.rows.tolist() == [[2, 0], [1, 3]]


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_chance_is_the_mean_of_many_draws(exclude_seen):
  rng, draws, k, count = np.random.default_rng(0), 4000, 3, 10
  expected = recall.by_chance(HELD, k, count, exclude_seen=exclude_seen)
  recalls, hits = np.zeros(3), np.zeros(3)
  for page in range(3):
    seen = HELD.past.values[
      HELD.past.offsets[page] : HELD.past.offsets[page + 1]
    ]
    clicked = HELD.clicked.values[
      HELD.clicked.offsets[page] : HELD.clicked.offsets[page + 1]
    ]
    free = np.setdiff1d(np.arange(count), seen if exclude_seen else [])
    for _ in range(draws):
      share = np.isin(clicked, rng.permutation(free)[:k]).mean()
      recalls[page] += share / draws
      hits[page] += (share > 0) / draws
  # Four standard errors of 4 000 draws.
  np.testing.assert_allclose(expected.recall, recalls, atol=4 * 0.5 / 4000**0.5)
  np.testing.assert_allclose(expected.hit_rate, hits, atol=4 * 0.5 / 4000**0.5)
  # 1 - C(9, 3) / C(10, 3) = 3 / 10, or of the 8 not seen 3 / 8.
  assert expected.hit_rate[1] == pytest.approx(3 / 8 if exclude_seen else 0.3)


def test_more_than_all_is_found_by_chance():
  found = recall.by_chance(HELD, 10, 10, exclude_seen=True)
  assert found.recall.tolist() == found.hit_rate.tolist() == [1, 1, 1]


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_evaluation_is_that_of_a_loop_over_page_views(exclude_seen):
  data, k = toy.dataset(), 5
  rng = np.random.default_rng(0)
  values = rng.normal(size=(toy.NUM_IMAGES, 6)).astype(np.float32)
  unit = values / np.linalg.norm(values, axis=1, keepdims=True)
  log, recalls, hits, users = data.test, [], [], []
  for group in range(log.num_groups):
    low, high = log.behaviour_images.offsets[group : group + 2]
    past = log.behaviour_images.values[low:high]
    clicked = set(
      log.ad_image[(log.group == group) & (log.label == 1)].tolist()
    )
    clicked -= set(past.tolist()) if exclude_seen else set()
    if not len(past) or not clicked:
      continue
    scores = unit @ unit[past].mean(axis=0)
    if exclude_seen:
      scores[past] = -np.inf
    best = set(np.argsort(-scores, kind="stable")[:k].tolist())
    recalls.append(len(best & clicked) / len(clicked))
    hits.append(bool(best & clicked))
    users.append(log.user[group])
  found = recall.evaluate(
    catalogue(data.image_names, values), data, k, exclude_seen=exclude_seen
  )
  of = found["methods"]["vectors"]
  assert of["recall"] == pytest.approx(np.mean(recalls))
  assert of["hit_rate"] == pytest.approx(np.mean(hits))
  assert 0 < of["recall_low"] < of["recall"] < of["recall_high"] < 1
  assert (found["page_views"], found["users"]) == (
    len(users),
    len(np.unique(users)),
  )
  assert found["page_views_left_out"] == log.num_groups - len(users)
  assert found["methods"]["random"]["recall"] == pytest.approx(
    k / toy.NUM_IMAGES, rel=0.15 if exclude_seen else 1e-6
  )
  assert (found["encoder"], found["data_notice"]) == ("net", "toy")


@pytest.mark.parametrize("exclude_seen", [False, True])
def test_evaluation_by_queries_is_that_of_a_loop(exclude_seen):
  data, k = toy.dataset(), 5
  rng = np.random.default_rng(0)
  query = rng.integers(-1, 3, data.test.num_groups)
  test = dataclasses.replace(data.test, query=query)
  items = rng.normal(size=(toy.NUM_IMAGES, 6)).astype(np.float32)
  queries = rng.normal(size=(3, 6)).astype(np.float32)
  recalls = []
  for group, place in enumerate(query):
    low, high = test.behaviour_images.offsets[group : group + 2]
    past = test.behaviour_images.values[low:high]
    here = (test.group == group) & (test.label == 1)
    clicked = set(test.ad_image[here].tolist())
    clicked -= set(past.tolist()) if exclude_seen else set()
    if place < 0 or not clicked:
      continue
    scores = items @ queries[place]
    if exclude_seen:
      scores[past] = -np.inf
    best = set(np.argsort(-scores, kind="stable")[:k].tolist())
    recalls.append(len(best & clicked) / len(clicked))
  found = recall.evaluate(
    catalogue(data.image_names, items, "inner"),
    dataclasses.replace(data, test=test),
    k,
    exclude_seen=exclude_seen,
    queries=queries,
  )
  assert (found["ask"], found["page_views"]) == ("query", len(recalls))
  assert found["methods"]["vectors"]["recall"] == pytest.approx(
    np.mean(recalls)
  )


def test_clicked_items_that_are_asked_for_are_found():
  """Each item's twin has its vector, and users click the past's twins."""
  data = toy.dataset()
  log, half = data.test, toy.NUM_IMAGES // 2
  first = log.behaviour_images.offsets[:-1][log.group]
  has = log.behaviour_images.lengths[log.group] > 0
  past = log.behaviour_images.values % half
  ad = np.where(has, past[np.where(has, first, 0)] + half, 0)
  test = dataclasses.replace(
    log,
    behaviour_images=log.behaviour_images._replace(values=past),
    ad_image=ad,
    label=np.ones_like(log.label),
  )
  values = np.tile(np.eye(half, dtype=np.float32), (2, 1))
  found = recall.evaluate(
    catalogue(data.image_names, values),
    dataclasses.replace(data, test=test),
    10,
  )
  # At most five different past items: they and their twins come first.
  assert found["methods"]["vectors"]["recall"] == 1
  assert found["methods"]["random"]["recall"] == pytest.approx(0.25)


def test_k_out_of_range_is_told():
  data = toy.dataset()
  few = catalogue(data.image_names[:4], np.eye(4, dtype=np.float32))
  with pytest.raises(errors.InputError, match="k: expected 1 to 4"):
    recall.evaluate(few, data, 5)
