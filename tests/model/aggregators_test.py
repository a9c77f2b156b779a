"""Attention against a loop over samples in NumPy."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dicm_jax.model import aggregators

WIDTH, QUERY = 4, 3
SAMPLE = np.array([0, 0, 0, 2, 2, 9, 9], np.int32)
"""Sample 1 and the last, 3, have no behaviours; 9 is padding."""
NUM_SAMPLES = 4

BY_HAND = {
  "none": lambda weight: weight,
  "length": lambda weight: weight / len(weight),
  "softmax": lambda weight: np.exp(weight) / np.exp(weight).sum(),
}


def behaviours(vectors):
  return aggregators.Behaviours(
    vectors=vectors,
    group=jnp.zeros(len(SAMPLE), jnp.int32),
    num_groups=1,
    sample_group=jnp.zeros(NUM_SAMPLES, jnp.int32),
    pair_behaviour=jnp.arange(len(SAMPLE)),
    pair_sample=jnp.asarray(SAMPLE),
  )


def channel(normalize):
  return aggregators.Attention(
    WIDTH, QUERY, normalize=normalize, rngs=nnx.Rngs(1)
  )


@pytest.fixture
def arrays():
  rng = np.random.default_rng(0)
  vectors = rng.normal(size=(len(SAMPLE), WIDTH)).astype(np.float32)
  queries = rng.normal(size=(NUM_SAMPLES, QUERY)).astype(np.float32)
  return vectors, queries


def weight_of(attention, key, query):
  hidden = key @ attention.of_key.kernel[...] + attention.of_key.bias[...]
  hidden = (hidden + query @ attention.of_query.kernel[...])[None]
  return attention.rest(attention.activation(hidden))[0, 0]


@pytest.mark.parametrize("normalize", aggregators.NORMALIZE)
def test_attention_equals_a_loop_over_samples(normalize, arrays):
  vectors, queries = arrays
  attention = channel(normalize)
  found = attention(behaviours(jnp.asarray(vectors)), jnp.asarray(queries))
  expected = np.zeros((NUM_SAMPLES, WIDTH))
  for sample in (0, 2):
    own = vectors[sample == SAMPLE]
    weight = [weight_of(attention, key, queries[sample]) for key in own]
    expected[sample] = BY_HAND[normalize](np.array(weight)) @ own
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("normalize", aggregators.NORMALIZE)
def test_padding_and_empty_histories_give_finite_gradients(normalize, arrays):
  vectors, queries = arrays
  attention = channel(normalize)

  def total(vectors):
    return attention(behaviours(vectors), jnp.asarray(queries)).sum()

  # Padding so large that its softmax would overflow.
  vectors[SAMPLE == 9] *= 1e4
  gradient = jax.grad(total)(jnp.asarray(vectors))
  assert np.isfinite(gradient).all()
  assert np.any(gradient[0])
