"""Queries are made of items, of behaviours and of vectors as they should be."""

import jax
import numpy as np
import pytest

from dicm_jax import errors, hnsw, retrieval
from dicm_jax.data import click_log, vectors
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import table

VALUES = np.array([[2, 0], [0, 3], [1, 1], [-1, 0], [4, 1]], np.float32)
KEYS = ("right.jpg", "up.jpg", "both.jpg", "left.jpg", "nearly right.jpg")
ITEMS = vectors.Vectors(keys=KEYS, values=VALUES)


def exact(similarity="cosine"):
  mesh = mesh_lib.make_mesh(1, 2, jax.devices()[:2])
  return retrieval.exact(ITEMS, mesh, similarity)


@pytest.mark.parametrize("index", ["exact", "usearch", "faiss"])
def test_item_finds_what_is_like_it_and_not_itself(index):
  catalogue = exact()
  if index != "exact":
    catalogue = retrieval.approximate(ITEMS, hnsw.build(index, VALUES))
  assert catalogue.index == index
  found = retrieval.like_items(catalogue, np.array([0, 2]), 3)
  assert found.rows[0].tolist() == [4, 2, 1]
  assert found.rows[1].tolist() in ([4, 0, 1], [4, 1, 0])  # The last two tie.
  # Of (1, 0) with (4, 1), (1, 1) and (0, 1) at length 1.
  expected = [4 / 17**0.5, 0.5**0.5, 0]
  np.testing.assert_allclose(found.scores[0], expected, rtol=1e-6, atol=1e-6)


def test_behaviours_are_the_mean_of_unit_vectors():
  past = click_log.Jagged(np.array([0, 1, 3, 3, 3]), np.array([0, 2, 2, 5]))
  pooled = retrieval.pool(VALUES, past)
  np.testing.assert_allclose(pooled, [[0.5, 0.5], [0, 0], [-1, 0]])
  found = retrieval.like_behaviours(exact(), past, 2, exclude_seen=False)
  assert found.rows[0].tolist() == [2, 4]
  assert found.rows[2].tolist() == [3, 1]
  np.testing.assert_allclose(found.scores[0, 0], 1, rtol=1e-6)
  new = retrieval.like_behaviours(exact(), past, 4, exclude_seen=True)
  assert new.rows.tolist()[0] == [2, 4, 3, table.EMPTY]
  assert new.rows.tolist()[2] == [1, 2, 4, 0]


def test_query_vectors_are_taken_as_they_are():
  queries = vectors.Vectors(
    keys=("a", "b"), values=np.array([[1, 0], [0, 2]], np.float32)
  )
  found = retrieval.like_vectors(exact("inner"), queries, 2)
  assert found.rows.tolist() == [[4, 0], [1, 2]]
  assert found.scores.tolist() == [[4, 2], [6, 2]]
  near = retrieval.neighbours(exact("inner"), found)
  assert near[1] == [
    {"rank": 1, "key": "up.jpg", "score": 6.0},
    {"rank": 2, "key": "both.jpg", "score": 2.0},
  ]
  wide = vectors.Vectors(keys=("a",), values=np.ones((1, 3), np.float32))
  with pytest.raises(errors.InputError, match=r"of 2 numbers, .* found 3"):
    retrieval.like_vectors(exact(), wide, 2)


def test_gaps_are_no_neighbours():
  past = click_log.Jagged(np.arange(4), np.array([0, 4]))
  found = retrieval.like_behaviours(exact(), past, 5, exclude_seen=True)
  (near,) = retrieval.neighbours(exact(), found)
  assert [n["key"] for n in near] == ["nearly right.jpg"]


@pytest.mark.parametrize(
  ("key", "near"),
  [
    ("right", "'right.jpg' or 'nearly right.jpg'"),
    ("bosh.jpg", "'both.jpg'"),
    ("?", None),
  ],
)
def test_unknown_item_gives_near_ones(key, near):
  with pytest.raises(errors.InputError) as caught:
    retrieval.row_of(ITEMS, key, "--item")
  message = str(caught.value)
  assert message.startswith("--item: expected one of the 5 keys of the items (")
  hint = f"; did you mean {near}" if near else ""
  assert f"found {key!r}{hint}" in message
  assert ("did you mean" in message) == bool(near)
