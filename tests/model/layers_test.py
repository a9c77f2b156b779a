"""Dice against the formula in NumPy, and its running statistics."""

from flax import nnx
import jax.numpy as jnp
import numpy as np
import pytest

from dicm_jax.model import layers

RNG = np.random.default_rng(0)
X = RNG.normal(2, 3, (64, 4)).astype(np.float32)
SLOPE = RNG.normal(size=4).astype(np.float32)


def dice():
  made = layers.Dice(4)
  made.slope[...] = jnp.asarray(SLOPE)
  return made


def by_hand(x, mean, variance):
  on = 1 / (1 + np.exp(-(x - mean) / np.sqrt(variance + 1e-9)))
  return on * x + (1 - on) * SLOPE * x


def test_dice_uses_the_batch_in_training():
  found = dice()(jnp.asarray(X))
  expected = by_hand(X, X.mean(0), X.var(0))
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)  # float32


def test_padding_has_no_say_in_the_moments():
  mask = np.arange(64) < 20
  wild = np.where(mask[:, None], X, 1e6)
  found = dice()(jnp.asarray(wild), jnp.asarray(mask))[:20]
  own = X[:20]
  expected = by_hand(own, own.mean(0), own.var(0))
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)  # float32


def test_evaluation_uses_running_averages_and_keeps_them():
  made = dice()
  for _ in range(2000):
    made(jnp.asarray(X))
  made.eval()
  small = jnp.asarray(X[:3])
  found = made(small)
  # 0.99^2000 of the first values, 0 and 1, are left.
  expected = by_hand(X[:3], X.mean(0), X.var(0))
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
  np.testing.assert_array_equal(made(small), found)


@pytest.mark.parametrize("name", layers.ACTIVATIONS)
def test_mlp_is_linear_at_its_end(name):
  made = layers.MLP((4, 3, 2), activation=name, rngs=nnx.Rngs(0))
  assert len(made.activations) == 1
  assert made(jnp.asarray(X)).shape == (64, 2)


@pytest.mark.parametrize("output", layers.OUTPUTS)
def test_mlp_ends_as_asked(output):
  made = layers.MLP((4, 3, 2), output=output, rngs=nnx.Rngs(0))
  plain = made.linear[-1](made.activations[0](made.linear[0](jnp.asarray(X))))
  assert (plain < 0).any()
  expected = np.maximum(plain, 0) if output == "relu" else plain
  np.testing.assert_array_equal(made(jnp.asarray(X)), expected)
