"""Aggregators of the behaviours alone, against a loop over groups in NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from dicm_jax.model import inputs, pooling
from dicm_jax.model.behaviours import Behaviours, Queries, Widths

LENGTHS = np.array([3, 0, 1], np.int32)
"""Group 1 has no behaviours."""
GROUP = np.array([0, 0, 0, 2, 3, 3], np.int32)
"""3 is padding."""
SAMPLE_GROUP = np.array([0, 1, 2, 2], np.int32)
VECTORS = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)


def behaviours(vectors, group=GROUP, lengths=LENGTHS):
  nothing = jnp.zeros(0, jnp.int32)
  return Behaviours(
    vectors=jnp.asarray(vectors),
    frozen=jnp.zeros((len(vectors), 0)),
    group=jnp.asarray(group),
    lengths=jnp.asarray(lengths),
    sample_group=jnp.asarray(SAMPLE_GROUP),
    pairs=inputs.Pairs(nothing, nothing),
  )


def joined(name, given):
  queries = Queries(*(jnp.zeros((len(SAMPLE_GROUP), 0)),) * 3)
  return np.asarray(pooling.Pooled(Widths(2, 0, 0), join=name)(given, queries))


def newest_first(own):
  room = np.zeros((pooling.LATEST, 2))
  kept = own[::-1][: pooling.LATEST]
  room[: len(kept)] = kept
  return room.reshape(-1)


BY_HAND = {
  "concat": newest_first,
  "max": lambda own: own.max(0) if len(own) else np.zeros(2),
  "mean": lambda own: own.mean(0) if len(own) else np.zeros(2),
  "sum": lambda own: own.sum(0),
}


@pytest.mark.parametrize("name", pooling.JOINS)
def test_join_equals_a_loop_over_groups(name):
  found = joined(name, behaviours(VECTORS))
  expected = [BY_HAND[name](VECTORS[g == GROUP]) for g in SAMPLE_GROUP]
  np.testing.assert_allclose(found, expected, rtol=1e-6)  # Sums of three.


@pytest.mark.parametrize("name", ["max", "mean", "sum"])
def test_order_of_behaviours_does_not_matter(name):
  turned = np.concatenate([VECTORS[:3][::-1], VECTORS[3:]])
  np.testing.assert_allclose(
    joined(name, behaviours(turned)),
    joined(name, behaviours(VECTORS)),
    rtol=1e-6,  # Another order of a sum.
  )


def test_concat_keeps_the_latest_of_a_long_history():
  length = pooling.LATEST + 5
  vectors = np.arange(2.0 * length).reshape(length, 2)
  group, lengths = np.zeros(length, int), np.array([length, 0, 0])
  found = joined("concat", behaviours(vectors, group, lengths))
  np.testing.assert_array_equal(found[0], newest_first(vectors))
  assert found[0, 0] == vectors[-1, 0]


def test_recency_counts_back_from_the_latest():
  found = behaviours(VECTORS).recency
  assert found[:4].tolist() == [2, 1, 0, 0]
