"""Adagrad with one number a row.

Source: FBGEMM's EXACT_ROWWISE_ADAGRAD, TorchRec's usual choice
(https://github.com/pytorch/FBGEMM, fbgemm_gpu/codegen).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

EPS = 1e-8
"""FBGEMM's, outside the root."""


class State(NamedTuple):
  """What each row remembers."""

  sum: jax.Array
  """[..., 1]: sum over the steps of the mean squared gradient of the row."""


def scale_by_rowwise_adagrad(start: float) -> optax.GradientTransformation:
  """Divides a row's gradient by the root of one sum for the whole row.

  The sum grows by the mean over the row's D numbers of the squared gradient.
  A slot of 1 in place of D numbers, and one learning rate for all of a row.

  Parameters are rows: an array [..., D].

  Args:
    start: where the sums begin; FBGEMM's begin at 0.
  """

  def init(params):
    return State(jnp.full_like(params[..., :1], start))

  def update(updates, state, params=None):
    del params
    total = state.sum + jnp.mean(updates**2, axis=-1, keepdims=True)
    return updates / (jnp.sqrt(total) + EPS), State(total)

  return optax.GradientTransformation(init, update)
