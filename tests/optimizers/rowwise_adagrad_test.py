"""Row-wise Adagrad in NumPy, and where it is Adagrad."""

import numpy as np
import optax

from dicm_jax import optim
from dicm_jax.optimizers import rowwise_adagrad
from tests.optimizers import touches


def test_rows_follow_the_formula():
  start = touches.first_rows()
  optimizer = optim.make_sparse(touches.sparse("rowwise_adagrad"))
  found, slots = touches.train(optimizer, start, 300)
  expected = start.astype(np.float64)
  total = np.full(len(start), optim.INITIAL_ACCUMULATOR)
  for rows, gradients in touches.touched(300):
    total[rows] += (gradients**2).mean(axis=1)
    rate = 0.1 / (np.sqrt(total[rows]) + 1e-8)
    expected[rows] -= rate[:, None] * gradients
  # 300 steps in 32 bits.
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
  assert slots[0].sum.shape == (256, 3, 1)


def test_rows_of_one_number_are_adagrad():
  ours = rowwise_adagrad.scale_by_rowwise_adagrad(0.1)
  theirs = optax.scale_by_rss(initial_accumulator_value=0.1, eps=0.0)
  rows = touches.first_rows()[:, :1]
  mine, other = ours.init(rows), theirs.init(rows)
  for _ in range(3):
    found, mine = ours.update(rows, mine)
    expected, other = theirs.update(rows, other)
    # Ours has 1e-8 below the line.
    np.testing.assert_allclose(found, expected, rtol=1e-6)
