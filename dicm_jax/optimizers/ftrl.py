"""FTRL-Proximal, each number with a learning rate of its own.

Source: McMahan et al., "Ad Click Prediction: a View from the Trenches", KDD
2013, Algorithm 1.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

BETA = 1.0
"""The paper's beta, which it finds good enough everywhere."""


class State(NamedTuple):
  """What each number remembers, in the paper's letters."""

  z: jax.Array
  """Sum of the gradients, each less its pull to where it was taken."""
  n: jax.Array
  """Sum of squared gradients."""


def ftrl(
  alpha: float, *, l1: float = 0.0, l2: float = 0.0
) -> optax.GradientTransformation:
  """Makes FTRL-Proximal.

  Where the last gradient left z and n, the value is the w that minimises

    z w + (beta + sqrt(n)) / (2 alpha) w^2 + l1 |w| + l2 / 2 w^2,

  which is exactly 0 where |z| <= l1.

  The paper starts at w = 0, and its beta / alpha holds w to 0. Here beta /
  alpha holds w to its first value w0: z starts at -(beta / alpha) w0. So w0 =
  0 is the paper's algorithm; without l1 and l2 the formula gives w0 back
  before the first gradient; and l1 and l2 pull to 0 all the same, from a
  value's first gradient on. Until then it stays at w0.

  Gradients of a mean over a batch are smaller than the paper's, of single
  examples, while beta is 1: until sqrt(n) comes near 1, a step is alpha times
  the gradient. So choose alpha as a rate for SGD, not for Adagrad, and l1 to
  suit sums of such gradients.

  Args:
    alpha: learning rate, > 0.
    l1: strength of the L1 penalty, the paper's lambda1, >= 0.
    l2: strength of the L2 penalty, the paper's lambda2, >= 0.
  """

  def init(params):
    return State(z=-(BETA / alpha) * params, n=jnp.zeros_like(params))

  def update(updates, state, params=None):
    """Steps from `params`, where the gradients were taken, to the minimum."""
    assert params is not None
    g, w = updates, params
    n = state.n + g**2
    root, new_root = jnp.sqrt(state.n), jnp.sqrt(n)
    # (new_root - root) / alpha, without cancellation and without 0 / 0.
    sigma = g**2 / (alpha * jnp.maximum(new_root + root, 1e-30))
    z = state.z + g - sigma * w
    shrunk = jnp.sign(z) * jnp.maximum(jnp.abs(z) - l1, 0.0)
    new_w = -shrunk / ((BETA + new_root) / alpha + l2)
    return new_w - w, State(z, n)

  return optax.GradientTransformation(init, update)
