"""Dense layers with PReLU, the activation of the DICM paper (section 4.1)."""

from collections.abc import Sequence
import itertools

from flax import nnx
import jax.numpy as jnp
from jaxtyping import Array, Float


class PReLU(nnx.Module):
  """max(x, 0) + slope * min(x, 0), one learned slope a channel.

  Source: He et al. 2015, https://arxiv.org/abs/1502.01852, equation 1.
  """

  def __init__(self, width: int):
    self.slope = nnx.Param(jnp.full((width,), 0.25, jnp.float32))

  def __call__(self, x: Float[Array, "n width"]) -> Float[Array, "n width"]:
    slope = jnp.broadcast_to(self.slope[...], x.shape)
    return jnp.where(x > 0, x, slope * x)


def mlp(widths: Sequence[int], *, rngs: nnx.Rngs) -> nnx.Sequential:
  """Linear layers of the given widths, PReLU between them, none at the end."""
  layers = []
  for inputs, outputs in itertools.pairwise(widths):
    layers += [nnx.Linear(inputs, outputs, rngs=rngs), PReLU(outputs)]
  return nnx.Sequential(*layers[:-1])
