"""Shares along a path: known functions, and that they add up."""

import numpy as np

from dicm_jax.serving import path_sums


def function(f, x, baseline):
  """Of groups of one number each, at points of the path."""
  x, baseline = np.array(x, float), np.array(baseline, float)

  def at(points):
    level = np.repeat(points.level[:, None], len(x), axis=1)
    moved = points.moved >= 0
    level[moved, points.moved[moved]] = points.moved_level[moved]
    return f(baseline + level * (x - baseline))

  return at


def test_share_in_a_sum_is_the_weighted_difference():
  found = path_sums.shares(
    function(lambda v: v @ [2.0, -3.0, 0.0], [1, 2, 3], [0, 1, 0]), 3
  )
  np.testing.assert_allclose(found.share, [2, -3, 0], atol=1e-12)
  assert (found.baseline, found.value) == (-3, -4)
  assert found.steps == path_sums.FEW


def test_a_product_is_shared_by_halves():
  # The integral of t x y dt from 0 to 1 is half of x y, by either factor.
  product = function(lambda v: v[:, 0] * v[:, 1], [3, 5], [0, 0])
  np.testing.assert_allclose(path_sums.shares(product, 2).share, [7.5, 7.5])


def test_share_is_the_integral_of_the_gradient():
  # d/dx of x^2 y along (t, 2 t) is 4 t^2, so x has 4/3 and y has 2/3 of 2.
  found = path_sums.shares(
    function(lambda v: v[:, 0] ** 2 * v[:, 1], [1, 2], [0, 0]), 2
  )
  np.testing.assert_allclose(found.share, [4 / 3, 2 / 3], rtol=1e-2)
  assert abs(found.missed) <= 0.01 * 2


def test_steps_grow_until_the_shares_add_up():
  waves = function(lambda v: np.sin(9 * v[:, 0]) * v[:, 1], [1, 1], [0, 0])
  found = path_sums.shares(waves, 2)
  assert path_sums.FEW < found.steps < path_sums.MANY
  assert abs(found.missed) <= 0.01 * abs(np.sin(9))
  never = path_sums.shares(
    lambda points: np.where(points.moved < 0, points.level, 0.0), 1
  )
  assert never.steps == path_sums.MANY
