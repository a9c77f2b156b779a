"""Match finds what comparing with every ad finds; pre-rank orders it."""

import dataclasses
import functools

import numpy as np
import pytest

from dicm_jax import ad_index, hnsw
from dicm_jax.serving import example, matching, request_reader
from dicm_jax.serving.limits import Limits
from tests.serving import bundles


def index_of(made, **options):
  """An index of the toy's ads that compares with every one."""
  towers = matching.Towers(made.bundle, Limits())
  ads = ad_index.of_data(made.bundle, bundles.placed())
  context = {"ids": {"position": 2}}
  return matching.Index(
    ads=tuple(ads),
    context=context,
    towers=towers,
    search=matching.exact(towers.ads(ads, context)),
    digest="0f",
    **options,
  )


@pytest.fixture(scope="module")
def index(towers):
  return index_of(towers)


def user_of(made, group):
  return example.request_of(made.bundle, made.log, group)["user"]


def test_match_orders_all_ads_by_the_users_inner_products(towers, index):
  made = matching.numpy_towers.NumpyTowers(towers.bundle)
  log = matching.read_ads(towers.bundle, index.ads, index.context)
  assert log.ad_ids["position"].tolist() == [2] * len(index.ads)
  users, ads = made.users(towers.log), made.ads(log)
  for group in (0, 17):
    found = index.match(user_of(towers, group), len(ads))
    wanted = ads @ users[group]
    np.testing.assert_allclose(
      found.scores, np.sort(wanted)[::-1], rtol=0, atol=1e-5
    )
    np.testing.assert_allclose(
      wanted[found.rows], found.scores, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("library", sorted(hnsw.LIBRARIES))
def test_graph_finds_nearly_what_exact_search_finds(towers, index, library):
  vectors = index.towers.ads(index.ads, index.context)
  graph = hnsw.build(library, vectors, "inner")
  by_graph = dataclasses.replace(
    index, search=functools.partial(hnsw.search, graph)
  )
  hits = []
  for group in range(20):
    user = user_of(towers, group)
    exact, found = (i.match(user, 10) for i in (index, by_graph))
    hits.append(np.isin(exact.rows, found.rows).mean())
  assert np.mean(hits) > 0.95


def test_rows_that_were_not_found_are_left_out(towers, index):
  def poor(queries, k):
    return np.array([[3, -1, -1]]), np.array([[1.5, 0, 0]], np.float32)

  few = dataclasses.replace(index, search=poor)
  found = few.match(user_of(towers, 0), 3)
  assert (found.rows.tolist(), found.scores.tolist()) == ([3], [1.5])


def test_shortlist_is_what_pre_rank_likes_of_what_match_found(towers, index):
  user = user_of(towers, 5)
  prerank = matching.PreRank(index, matching.Towers(towers.bundle, Limits()))
  rows = np.arange(len(index.ads))[::-1]
  best = prerank.best(user, rows, 6)
  np.testing.assert_array_equal(best.rows, index.match(user, 6).rows)

  # Match by another measure: the worst first.
  worst = matching.exact(-index.towers.ads(index.ads, index.context))
  other = dataclasses.replace(index, search=worst)
  funnel = matching.Funnel(
    index=other, prerank=prerank, match_k=10, prerank_k=4
  )
  found = set(other.match(user, 10).rows.tolist())
  whole = index.match(user, len(index.ads)).rows.tolist()
  wanted = [row for row in whole if row in found][:4]
  assert funnel.shortlist(user).rows.tolist() == wanted
  alone = dataclasses.replace(funnel, prerank=None)
  np.testing.assert_array_equal(
    alone.shortlist(user).rows, other.match(user, 4).rows
  )


def test_what_is_unknown_of_a_user_is_told(index):
  user = {"ids": {"user_id": 10**30}, "behaviours": ["nobody.png"]}
  found = index.match(user, 2)
  assert found.unknown == {"user.ids.user_id": 1, "user.behaviours": 1}
  with pytest.raises(request_reader.RequestError, match=r"user\.behaviours"):
    index.match({"behaviours": ["0.png"] * 201}, 2)
