"""Adam for rows that few steps touch.

Source of Adam: Kingma and Ba, https://arxiv.org/abs/1412.6980, Algorithm 1.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

B1, B2, EPS = 0.9, 0.999, 1e-8
"""The paper's."""


class State(NamedTuple):
  """What each row remembers."""

  steps: jax.Array
  """int32 [..., 1]: the updates that the row has had."""
  mean: jax.Array
  """Moving average of the gradients, shaped like the rows."""
  square: jax.Array
  """Moving average of the squared gradients, shaped like the rows."""


def scale_by_lazy_adam() -> optax.GradientTransformation:
  """Adam's direction, each row with a clock of its own.

  A row lives in the steps that touch it alone: its averages decay in them,
  and its bias is corrected by their number. So it moves as if by a dense Adam
  to which no other step ever happened.

  A clock for all rows, as of Adam on the whole table, would not do: a row
  first touched late has averages that start at 0 like any other's, and where
  the correction has worn off, its first step is 0.1 / sqrt(0.001), three
  times too long.

  Parameters are rows: an array [..., D].
  """

  def init(params):
    return State(
      steps=jnp.zeros_like(params[..., :1], jnp.int32),
      mean=jnp.zeros_like(params),
      square=jnp.zeros_like(params),
    )

  def update(updates, state, params=None):
    del params
    steps = state.steps + 1
    mean = B1 * state.mean + (1 - B1) * updates
    square = B2 * state.square + (1 - B2) * updates**2
    root = jnp.sqrt(square / _corrected(B2, steps))
    direction = mean / _corrected(B1, steps) / (root + EPS)
    return direction, State(steps, mean, square)

  return optax.GradientTransformation(init, update)


def _corrected(decay: float, steps: jax.Array) -> jax.Array:
  """1 - decay^steps, with all its digits where decay is almost 1."""
  return -jnp.expm1(steps * math.log(decay))
