"""The k best rows of all devices are those of a sort over all rows."""

import math
import re

import jax
import numpy as np
import pytest

from dicm_jax import errors
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import table, top_k

MESHES = [(1, 1), (2, 4), (1, 8)]


def make_mesh(worker, server):
  return mesh_lib.make_mesh(worker, server, jax.devices()[: worker * server])


def whole_numbers(rng, rows, width=3):
  """Few distinct ones, so that inner products are exact and often equal."""
  return rng.integers(-2, 3, (rows, width)).astype(np.float32)


def sorted_by_hand(items, queries, k, excluded=None):
  """Rows by falling inner product, of equal ones the lower first."""
  scores = queries.astype(np.float64) @ items.T.astype(np.float64)
  for query, rows in enumerate([] if excluded is None else excluded):
    scores[query, rows[rows != table.EMPTY]] = -np.inf
  rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
  best = np.take_along_axis(scores, rows, axis=1)
  return np.where(best == -np.inf, table.EMPTY, rows), best


@pytest.mark.parametrize("shape", MESHES)
@pytest.mark.parametrize(
  ("rows", "k"),
  [(40, 5), (41, 5), (13, 13), (3, 2), (100, 64), (1, 1)],
)
def test_ties_and_uneven_shards_are_as_a_stable_sort_has_them(shape, rows, k):
  rng = np.random.default_rng(rows)
  items, queries = whole_numbers(rng, rows), whole_numbers(rng, 7)
  placed = top_k.place(make_mesh(*shape), items, "inner")
  found = top_k.search(placed, queries, k)
  expected_rows, expected = sorted_by_hand(items, queries, k)
  np.testing.assert_array_equal(found.rows, expected_rows)
  np.testing.assert_array_equal(found.scores, expected)


@pytest.mark.parametrize("shape", MESHES)
def test_zero_of_either_sign_is_a_tie(shape):
  items = np.array([[-0.0], [0.0], [-0.0], [0.0], [1.0]], np.float32)
  placed = top_k.place(make_mesh(*shape), items, "inner")
  for sign in (1.0, -1.0):
    query = np.array([[sign]], np.float32)
    found = top_k.search(placed, query, 5)
    np.testing.assert_array_equal(
      found.rows, sorted_by_hand(items, query, 5)[0]
    )


@pytest.mark.parametrize("shape", MESHES)
def test_excluded_rows_are_not_found_and_leave_gaps_at_the_end(shape):
  rng = np.random.default_rng(0)
  items, queries = whole_numbers(rng, 21), whole_numbers(rng, 6)
  excluded = rng.integers(-1, 21, (6, 9))  # Some rows twice, some EMPTY.
  excluded[0] = np.arange(9)
  placed = top_k.place(make_mesh(*shape), items, "inner")
  found = top_k.search(placed, queries, 21, excluded=excluded)
  expected_rows, expected = sorted_by_hand(items, queries, 21, excluded)
  np.testing.assert_array_equal(found.rows, expected_rows)
  np.testing.assert_array_equal(found.scores, expected)
  assert (found.rows[0] == table.EMPTY).sum() == 9
  assert not np.isin(np.arange(9), found.rows[0]).any()
  # The same from a longer list, as approximate indexes do it.
  longer = top_k.search(placed, queries, 21)
  again = top_k.without(longer, excluded, 8)
  np.testing.assert_array_equal(again.rows, expected_rows[:, :8])
  np.testing.assert_array_equal(again.scores, expected[:, :8])


@pytest.mark.parametrize("chunk", [1, 3, 4, 100])
def test_chunks_of_queries_change_nothing(chunk):
  rng = np.random.default_rng(1)
  items, queries = whole_numbers(rng, 30), whole_numbers(rng, 8)
  excluded = rng.integers(0, 30, (8, 2))
  placed = top_k.place(make_mesh(2, 4), items, "inner")
  found = top_k.search(placed, queries, 6, excluded=excluded, chunk=chunk)
  rows, scores = sorted_by_hand(items, queries, 6, excluded)
  np.testing.assert_array_equal(found.rows, rows)
  np.testing.assert_array_equal(found.scores, scores)
  none = top_k.search(placed, queries[:0], 6, chunk=chunk)
  assert none.rows.shape == none.scores.shape == (0, 6)


@pytest.mark.parametrize("shape", MESHES)
def test_cosine_forgets_lengths_and_zeros_have_none(shape):
  rng = np.random.default_rng(2)
  items = rng.normal(size=(50, 16)).astype(np.float32)
  items[7] = 0
  lengths = rng.uniform(0.1, 100, (50, 1)).astype(np.float32)
  queries = items[[3, 7, 20]] * 5
  placed = top_k.place(make_mesh(*shape), items * lengths)
  found = top_k.search(placed, queries, 50)
  norms = np.linalg.norm(items.astype(np.float64), axis=1, keepdims=True)
  unit = items / np.where(norms > 0, norms, 1)
  expected = np.take_along_axis(unit[[3, 7, 20]] @ unit.T, found.rows, axis=1)
  # Sums of 16 products of float32 numbers below 1.
  np.testing.assert_allclose(found.scores, expected, atol=1e-6)
  assert (np.diff(found.scores, axis=1) <= 0).all()
  assert found.rows[0, 0] == 3
  assert found.scores[1].tolist() == [0] * 50
  assert found.rows[1].tolist() == list(range(50))


def test_memory_of_a_chunk_is_that_of_its_scores():
  mesh, k, rows, chunk = make_mesh(2, 4), 3, 4000, 2
  items = np.ones((rows, 4), np.float32)
  placed = top_k.place(mesh, items, "inner")
  queries, excluded = items[:chunk], np.zeros((chunk, 1), np.int32)
  lowered = top_k._best.lower(mesh, rows, k, placed.vectors, queries, excluded)
  text = lowered.compile().as_text() or ""
  sizes = re.findall(r"\b[a-z]+\d+\[([\d,]+)\]", text)
  largest = max(math.prod(map(int, dims.split(","))) for dims in sizes)
  assert largest <= rows // 8 * 4  # The items' shard; scores are 2 x 500.


def test_what_does_not_fit_is_named():
  placed = top_k.place(make_mesh(1, 1), np.ones((5, 3), np.float32))
  for k in (0, 6):
    with pytest.raises(errors.InputError, match=f"1 to 5, .*; found {k}"):
      top_k.search(placed, np.ones((1, 3), np.float32), k)
  with pytest.raises(errors.InputError, match=r"of 3 numbers, .*; found 4"):
    top_k.search(placed, np.ones((1, 4), np.float32), 2)
  with pytest.raises(errors.InputError, match=r"'cosin'; did you mean 'cosi"):
    top_k.place(make_mesh(1, 1), np.ones((5, 3), np.float32), "cosin")
