"""FTRL is Algorithm 1 of McMahan et al. 2013, written again in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dicm_jax import optim
from dicm_jax.optimizers import ftrl
from tests.optimizers import touches

ALPHA, BETA = 0.005, 1.0  # Values of 0.2 at most, as in a table of ids.


def _algorithm_1(steps, l1, l2):
  """The paper's lines, one number at a time; rows begin at 0."""
  z = np.zeros((touches.NUM_ROWS, touches.WIDTH))
  n = np.zeros_like(z)

  def weight(i):
    if abs(z[i]) <= l1:
      return 0.0
    scale = (BETA + np.sqrt(n[i])) / ALPHA + l2
    return -(z[i] - np.sign(z[i]) * l1) / scale

  for rows, gradients in touches.touched(steps):
    for row, gradient in zip(rows, gradients, strict=True):
      for column, g in enumerate(gradient):
        i = row, column
        w = weight(i)
        sigma = (np.sqrt(n[i] + g**2) - np.sqrt(n[i])) / ALPHA
        z[i] += g - sigma * w
        n[i] += g**2
  return np.array([[weight(i) for i in row] for row in _places(z.shape)])


def _places(shape):
  return [[(r, c) for c in range(shape[1])] for r in range(shape[0])]


@pytest.mark.parametrize(
  ("l1", "l2"),
  [(20.0, 3.0)]
  + [
    pytest.param(*p, marks=pytest.mark.slow) for p in [(0.0, 0.0), (20.0, 0.0)]
  ],
)
def test_rows_follow_algorithm_1_for_1000_steps(l1, l2):
  config = touches.sparse("ftrl", learning_rate=ALPHA, l1=l1, l2=l2)
  start = np.zeros((touches.NUM_ROWS, touches.WIDTH), np.float32)
  found, _ = touches.train(optim.make_sparse(config), start, 1000)
  expected = _algorithm_1(1000, l1, l2)
  # Sums of 1000 numbers in 32 bits; then 64 bits, where rounding is nothing.
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
  with jax.enable_x64(True):
    exact, _ = touches.train(
      optim.make_sparse(config), start.astype(np.float64), 1000
    )
  np.testing.assert_allclose(exact, expected, rtol=1e-9, atol=1e-12)
  np.testing.assert_array_equal(found == 0, expected == 0)
  zeros = np.mean(expected[:60] == 0)
  assert 0.1 < zeros < 0.9 if l1 else zeros == 0
  assert 0.1 < np.abs(expected).max() < 0.3


def test_without_penalties_steps_from_first_values_are_gradient_steps():
  """Section 3 of the paper: then FTRL is gradient descent at rate eta."""
  start = touches.first_rows()
  optimizer = optim.make_sparse(touches.sparse("ftrl", learning_rate=ALPHA))
  found, _ = touches.train(optimizer, start, 200)
  expected, n = start.astype(np.float64), np.zeros(start.shape)
  for rows, gradients in touches.touched(200):
    n[rows] += gradients**2
    expected[rows] -= ALPHA / (BETA + np.sqrt(n[rows])) * gradients
  # 32 bits, 200 steps.
  np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


def test_untouched_rows_keep_their_first_values_whatever_the_penalties():
  start = touches.first_rows()
  config = touches.sparse("ftrl", l1=1e3, l2=1e3)
  found, _ = touches.train(optim.make_sparse(config), start, 3)
  np.testing.assert_array_equal(found[60:], start[60:])
  assert (found[:60] != start[:60]).any()


def test_penalties_pull_first_values_to_zero_from_the_first_touch():
  l1, l2 = 3.0, 5.0
  optimizer = ftrl.ftrl(0.1, l1=l1, l2=l2)
  w = jnp.array([[-1.0, 0.5, 0.2, 0.0]])
  updates, _ = optimizer.update(jnp.zeros_like(w), optimizer.init(w), w)
  # argmin of beta / (2 alpha) (w - w0)^2 + l1 |w| + l2 / 2 w^2.
  expected = [[-7 / 15, 2 / 15, 0.0, 0.0]]
  # Rounding of 32 bits.
  np.testing.assert_allclose(w + updates, expected, rtol=1e-6)
