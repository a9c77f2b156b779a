"""SimTier against a histogram by NumPy."""

from flax import nnx
import jax.numpy as jnp
import numpy as np

from dicm_jax.model import inputs, simtier
from dicm_jax.model.behaviours import Behaviours, Queries, Widths

TIERS = simtier.SimTier.TIERS
ADS = np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]], np.float32)
CLICKS = np.array([[3.0, 0.0], [-1.0, 0.0], [1.0, 1.0]], np.float32)


def tiers(pairs):
  sample, entry = np.array(pairs).reshape(-1, 2).T
  given = Behaviours(
    vectors=jnp.zeros((len(CLICKS), 1)),
    frozen=jnp.asarray(CLICKS),
    group=jnp.zeros(len(CLICKS), jnp.int32),
    lengths=jnp.array([len(CLICKS)]),
    sample_group=jnp.zeros(len(ADS), jnp.int32),
    pairs=inputs.Pairs(jnp.asarray(entry), jnp.asarray(sample)),
  )
  queries = Queries(jnp.zeros((3, 1)), jnp.asarray(ADS), jnp.zeros((3, 0)))
  made = simtier.SimTier(Widths(1, 2, 0), normalize="none", rngs=nnx.Rngs(0))
  return np.asarray(made(given, queries))


def test_counts_equal_numpys_histogram():
  found = tiers([(0, 0), (0, 1), (0, 2), (1, 2)])
  cosines = [1.0, -1.0, np.sqrt(0.5)]
  expected, _ = np.histogram(cosines, TIERS, (-1, 1))
  np.testing.assert_allclose(found[0], np.log1p(expected), rtol=1e-6)
  assert found[1].sum() == np.float32(np.log1p(1))


def test_padding_and_empty_histories_count_nothing():
  found = tiers([(0, 0), (3, 1), (3, 2)])  # 3 is padding.
  assert np.count_nonzero(found) == 1
  assert found[1:].sum() == 0


def test_an_image_of_zeros_is_like_nothing_else():
  found = tiers([(2, 0), (2, 1)])
  assert found[2, TIERS // 2] == np.float32(np.log1p(2))


def test_order_does_not_matter():
  pairs = [(0, 0), (0, 1), (0, 2)]
  np.testing.assert_array_equal(tiers(pairs), tiers(pairs[::-1]))
