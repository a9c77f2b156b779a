"""Each row's Adam counts the steps that touched it, and no others."""

import jax.numpy as jnp
import numpy as np

from dicm_jax import optim
from tests.optimizers import touches

RATE = 0.01


def _adam(steps, start, rate_of):
  """Kingma and Ba's Algorithm 1 for each row, run when it is touched."""
  rows_now = start.astype(np.float64)
  m, v = np.zeros_like(rows_now), np.zeros_like(rows_now)
  t = np.zeros(len(start), int)
  for step, (rows, gradients) in enumerate(touches.touched(steps)):
    for r, g in zip(rows, gradients, strict=True):
      t[r] += 1
      m[r] = 0.9 * m[r] + 0.1 * g
      v[r] = 0.999 * v[r] + 0.001 * g**2
      m_hat, v_hat = m[r] / (1 - 0.9 ** t[r]), v[r] / (1 - 0.999 ** t[r])
      rows_now[r] -= rate_of(step) * m_hat / (np.sqrt(v_hat) + 1e-8)
  return rows_now, t


def test_rows_follow_adam_over_the_steps_that_touch_them():
  config = touches.sparse(
    "adam", learning_rate=RATE, decay_rate=0.5, decay_steps=100
  )
  start = touches.first_rows()
  found, slots = touches.train(optim.make_sparse(config), start, 300)
  expected, touched = _adam(300, start, lambda k: RATE * 0.5 ** (k // 100))
  # 300 steps in 32 bits.
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
  assert slots[0].steps.dtype == jnp.int32
  assert np.asarray(slots[0].steps).sum() == touched.sum() < 300 * 60


def test_row_first_touched_late_makes_a_first_step_of_the_rate():
  optimizer = optim.make_sparse(touches.sparse("adam", learning_rate=RATE))
  shard = jnp.zeros((256, 1, 2))
  slots = optimizer.init(shard)
  for row in [3] * 50 + [4]:
    before = shard
    shard, slots = optim.update_rows(
      optimizer, shard, slots, jnp.array([row]), jnp.array([[0.3, -2.0]])
    )
  moved = np.asarray(shard - before).reshape(-1, 2)
  moved = moved[moved.any(axis=1)]
  # Rounding of 32 bits.
  np.testing.assert_allclose(moved, [[-RATE, RATE]], rtol=1e-5)
