"""The text encoder against the same sums written out in NumPy."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dicm_jax.model import text_cnn


@pytest.fixture(scope="module")
def net():
  made = text_cnn.TextCNN(5, buckets=50, rngs=nnx.Rngs(0))
  for window in made.windows:  # Biases that padding could show through.
    window.bias[...] = jax.random.normal(jax.random.key(1), window.bias.shape)
  return made


def by_hand(net, tokens):
  """One text, its padding cut off."""
  words = np.asarray(net.words.embedding[...])[[t for t in tokens if t]]
  found = []
  for window in net.windows:
    kernel = np.asarray(window.kernel[...])
    padded = np.pad(words, ((0, len(kernel) - 1), (0, 0)))
    places = np.stack(
      [
        np.einsum("kc,kcf->f", padded[i : i + len(kernel)], kernel)
        for i in range(len(words))
      ]
    )
    places = np.maximum(places + np.asarray(window.bias[...]), 0)
    found.append(places.max(axis=0))
  flat = np.concatenate(found)
  return flat @ np.asarray(net.head.kernel[...]) + np.asarray(
    net.head.bias[...]
  )


@pytest.mark.parametrize(
  "tokens", [[3], [3, 9], [7, 7, 1, 50], [2, 4, 6, 8, 9]]
)
def test_embeddings_are_the_sums_written_out(net, tokens):
  rows = np.zeros((1, 6), np.int32)
  rows[0, : len(tokens)] = tokens
  # Sums of at most 96 float32 products.
  np.testing.assert_allclose(
    net(jnp.asarray(rows))[0], by_hand(net, tokens), rtol=1e-5, atol=1e-5
  )


def test_padding_changes_nothing(net):
  short = net(jnp.array([[3, 9, 4]], jnp.int32))
  long = net(jnp.array([[3, 9, 4, 0, 0, 0, 0]], jnp.int32))
  np.testing.assert_allclose(short, long, rtol=1e-6)


def test_an_empty_text_is_the_bias_alone(net):
  found = net(jnp.zeros((1, 4), jnp.int32))
  np.testing.assert_array_equal(found[0], net.head.bias[...])


def test_padding_learns_nothing(net):
  def total(net):
    return net(jnp.array([[3, 0, 0]], jnp.int32)).sum()

  gradient = nnx.grad(total)(net)
  of_words = np.asarray(gradient["words"]["embedding"][...])
  assert np.flatnonzero(np.abs(of_words).sum(1)).tolist() == [3]
