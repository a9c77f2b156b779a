"""Attention against a loop over samples in NumPy."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dicm_jax.model import attention, inputs
from dicm_jax.model.behaviours import Behaviours, Queries, Widths

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
  return Behaviours(
    vectors=vectors,
    frozen=vectors[:, :0],
    group=jnp.zeros(len(SAMPLE), jnp.int32),
    lengths=jnp.array([len(SAMPLE)]),
    sample_group=jnp.zeros(NUM_SAMPLES, jnp.int32),
    pairs=inputs.Pairs(jnp.arange(len(SAMPLE)), jnp.asarray(SAMPLE)),
  )


def channel(normalize):
  return attention.Channel(WIDTH, QUERY, normalize=normalize, rngs=nnx.Rngs(1))


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


@pytest.mark.parametrize("normalize", attention.NORMALIZE)
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


@pytest.mark.parametrize("normalize", attention.NORMALIZE)
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


def target_attention():
  widths = Widths(WIDTH, 2, 0)
  return attention.TargetAttention(widths, normalize="none", rngs=nnx.Rngs(2))


def with_head(vectors):
  return behaviours(vectors)._replace(frozen=vectors[:, :2] ** 2)


def queries_of(queries):
  image = jnp.pad(queries, ((0, 0), (0, WIDTH - QUERY)))
  return Queries(image, queries[:, :2], queries[:, :0])


def by_loop(made, vectors, queries):
  """Heads one after the other, recency by hand."""
  bias = np.asarray(made.recency[...])
  out = np.zeros((NUM_SAMPLES, made.width))
  for sample in (0, 2):
    own = np.flatnonzero(sample == SAMPLE)
    seen = np.hstack([vectors[own], vectors[own, :2] ** 2])
    query = np.concatenate([queries.image[sample], queries.frozen[sample]])
    for head in range(made.HEADS):
      key = seen @ made.of_key.kernel[...][:, head]
      asked = query @ made.of_query.kernel[...][:, head]
      ago = len(SAMPLE) - 1 - own
      score = key @ asked / np.sqrt(made.HEAD_WIDTH)
      score = score + bias[[0, 1, 2, 2, 3, 3, 3][: len(SAMPLE)]][ago, head]
      weight = np.exp(score) / np.exp(score).sum()
      values = vectors[own] @ made.of_value.kernel[...][:, head]
      place = slice(head * made.HEAD_WIDTH, (head + 1) * made.HEAD_WIDTH)
      out[sample, place] = weight @ values
  return out


def test_target_attention_equals_a_loop_over_heads(arrays):
  vectors, queries = arrays
  made = target_attention()
  bias = np.random.default_rng(3).normal(size=made.recency[...].shape)
  made.recency[...] = jnp.asarray(bias, jnp.float32)
  asked = queries_of(jnp.asarray(queries))
  found = made(with_head(jnp.asarray(vectors)), asked)
  expected = by_loop(made, vectors, asked)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)  # float32


def test_recency_alone_makes_the_order_matter(arrays):
  vectors, queries = arrays
  turned = np.concatenate([vectors[:3][::-1], vectors[3:]])
  made = target_attention()
  asked = queries_of(jnp.asarray(queries))

  def first(given):
    # The first sample's three make up a group: they are of three octaves.
    given = with_head(jnp.asarray(given))._replace(
      group=jnp.array([0, 0, 0, 1, 1, 1, 1]), lengths=jnp.array([3, 4])
    )
    return np.asarray(made(given, asked))[0]

  np.testing.assert_allclose(first(turned), first(vectors), rtol=1e-5)
  made.recency[...] = jnp.tile(jnp.arange(10.0)[:, None], (1, 4))
  assert not np.allclose(first(turned), first(vectors), rtol=1e-3)
