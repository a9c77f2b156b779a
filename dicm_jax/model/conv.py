"""What the image encoders share: input scaling and convolutions."""

from collections.abc import Sequence
import functools
import math

from flax import nnx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt8


class Constant(nnx.Variable):
  """An array that belongs to the weights but is never trained."""


class Normalise(nnx.Module):
  """Turns uint8 RGB into what the first convolution was trained on.

  The mean stays outside that convolution: folded into its bias, it would be
  wrong at the border, where padding adds zeros after the subtraction.

  Args:
    mean: of red, green, blue, on the scale 0 .. 255.
    scale: factor of each colour after the subtraction.
  """

  def __init__(self, mean: Sequence[float], scale: Sequence[float]):
    self.mean = Constant(jnp.array(mean, jnp.float32))
    self.scale = Constant(jnp.array(scale, jnp.float32))

  def __call__(
    self, images: UInt8[Array, "K H W 3"]
  ) -> Float[Array, "K H W 3"]:
    """Returns float32 (images - mean) * scale."""
    mean, scale = (
      jax.lax.stop_gradient(c[...].reshape(1, 1, 1, 3))
      for c in (self.mean, self.scale)
    )
    return (images.astype(jnp.float32) - mean) * scale


def make(
  inputs: int,
  outputs: int,
  side: int,
  *,
  strides: int = 1,
  padding: str = "SAME",
  dtype: DTypeLike,
  rngs: nnx.Rngs,
) -> nnx.Conv:
  """Returns a square convolution with He-normal float32 first values.

  Args:
    inputs: channels that come in.
    outputs: channels that go out.
    side: side of the kernel in pixels.
    strides: step of the kernel in pixels, both ways.
    padding: "SAME" or "VALID".
    dtype: of the arithmetic.
    rngs: source of the first values.
  """
  return nnx.Conv(
    inputs,
    outputs,
    (side, side),
    strides=strides,
    padding=padding,
    dtype=dtype,
    kernel_init=nnx.initializers.he_normal(),
    rngs=rngs,
  )


def draw_kernels(net: nnx.Module, rngs: nnx.Rngs) -> None:
  """Gives all convolutions of a net He-normal kernels, from one draw.

  One compilation serves all: with one for each shape, a net of many blocks
  takes half a minute to begin.

  Args:
    net: its parameters of four axes [H, W, in, out] are replaced.
    rngs: stream of the values.

  Source: He et al. (arXiv 1502.01852), equation 10.
  """
  params = nnx.state(net, nnx.Param)
  leaves, form = jax.tree.flatten(params)
  places = [i for i, leaf in enumerate(leaves) if leaf.ndim == 4]
  shapes = tuple(leaves[i].shape for i in places)
  for i, kernel in zip(places, _he_normal(rngs.params(), shapes), strict=True):
    leaves[i] = kernel
  nnx.update(net, jax.tree.unflatten(form, leaves))


@functools.partial(jax.jit, static_argnames="shapes")
def _he_normal(
  key: Array, shapes: tuple[tuple[int, ...], ...]
) -> list[Float[Array, "H W C D"]]:
  sizes = [math.prod(shape) for shape in shapes]
  flat = jax.random.normal(key, (sum(sizes),))
  found, start = [], 0
  for shape, size in zip(shapes, sizes, strict=True):
    std = math.sqrt(2 / math.prod(shape[:-1]))
    found.append(flat[start : start + size].reshape(shape) * std)
    start += size
  return found
