"""Dense layers and their activations."""

from collections.abc import Callable, Sequence
import itertools

from flax import nnx
import jax
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


def _relu(width: int) -> Callable[[Array], Array]:
  del width
  return jax.nn.relu


ACTIVATIONS: dict[str, Callable[[int], Callable[[Array], Array]]] = {
  "prelu": PReLU,
  "relu": _relu,
}
"""Width -> activation. DICM has PReLU (paper, section 4.1)."""


def mlp(
  widths: Sequence[int], *, activation: str = "prelu", rngs: nnx.Rngs
) -> nnx.Sequential:
  """Linear layers of the given widths, linear at the end.

  Args:
    widths: of the inputs and of each layer's outputs.
    activation: between the layers, a key of ACTIVATIONS.
    rngs: stream of the initial weights.
  """
  make = ACTIVATIONS[activation]
  layers = []
  for inputs, outputs in itertools.pairwise(widths):
    layers += [nnx.Linear(inputs, outputs, rngs=rngs), make(outputs)]
  return nnx.Sequential(*layers[:-1])
