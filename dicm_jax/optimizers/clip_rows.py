"""Row by row, gradients that are too long are shortened."""

import jax.numpy as jnp
import optax


def clip_rows(max_norm: float) -> optax.GradientTransformation:
  """Scales each row's gradient to a Euclidean norm of at most `max_norm`.

  Parameters are rows: an array [..., D].
  """

  def clip(updates, params=None):
    del params
    norm = jnp.linalg.norm(updates, axis=-1, keepdims=True)
    # No division by 0, and a factor of exactly 1 below the limit.
    return updates * (max_norm / jnp.maximum(norm, max_norm))

  return optax.stateless(clip)
