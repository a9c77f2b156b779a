"""Inception's blocks: branches side by side, described by tables.

Source: Szegedy et al. 2015, https://arxiv.org/abs/1512.00567, section 3. Each
convolution goes without bias into batch normalisation and ReLU.
"""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from flax import nnx
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

Norm = Callable[[int], nnx.Module]
"""Channels -> normalisation of them."""


class Conv(NamedTuple):
  """One convolution of a branch, with its normalisation and ReLU."""

  name: str
  """Within its block."""
  outputs: int
  kernel: tuple[int, int] = (1, 1)
  """Height and width in pixels."""
  strides: int = 1
  padding: Literal["SAME", "VALID"] = "SAME"


Pool = Literal["average", "max"]
"""3 x 3: a mean at each pixel, or the largest at each second, not padded."""
Branch = tuple[Conv | tuple[Conv, ...] | Pool, ...]
"""One after the other; a tuple inside is side by side."""
Block = tuple[Branch, ...]
"""Branches that all see the block's input; outputs lie side by side."""


class Unit(nnx.Module):
  """Convolution without bias, normalisation, ReLU.

  The kernel is zero until `conv.draw_kernels` fills it, once for a whole net.

  Args:
    inputs: channels that come in.
    shape: of the convolution.
    norm: makes the normalisation.
    dtype: of the convolution's arithmetic.
    rngs: asked for by flax.
  """

  def __init__(
    self,
    inputs: int,
    shape: Conv,
    *,
    norm: Norm,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
  ):
    self.conv = nnx.Conv(
      inputs,
      shape.outputs,
      shape.kernel,
      strides=shape.strides,
      padding=shape.padding,
      use_bias=False,
      dtype=dtype,
      kernel_init=nnx.initializers.zeros,
      rngs=rngs,
    )
    self.norm = norm(shape.outputs)

  def __call__(self, x: Float[Array, "K H W C"]) -> Float[Array, "K h w D"]:
    return nnx.relu(self.norm(self.conv(x)))


class Mixed(nnx.Module):
  """A block: its branches' outputs side by side; kernels as in `Unit`.

  Args:
    block: the branches.
    inputs: channels that come in; `width` tells how many go out.
    count_border: whether the means at the border count the zeros beyond it.
    norm: makes the normalisation of each convolution.
    dtype: of the convolutions' arithmetic.
    rngs: asked for by flax.
  """

  def __init__(
    self,
    block: Block,
    inputs: int,
    *,
    count_border: bool = False,
    norm: Norm,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
  ):
    self.block = block
    self.count_border = count_border
    self.units = nnx.Dict(
      {
        conv.name: Unit(channels, conv, norm=norm, dtype=dtype, rngs=rngs)
        for conv, channels in convs(block, inputs)
      }
    )

  def __call__(self, x: Float[Array, "K H W C"]) -> Float[Array, "K h w D"]:
    branches = [self._branch(branch, x) for branch in self.block]
    return jnp.concatenate(branches, axis=-1)

  def _branch(self, branch, x):
    for part in branch:
      if part == "average":
        x = nnx.avg_pool(
          x, (3, 3), padding="SAME", count_include_pad=self.count_border
        )
      elif part == "max":
        x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding="VALID")
      else:
        units = [self.units[conv.name] for conv in _beside(part)]
        x = jnp.concatenate([unit(x) for unit in units], axis=-1)
    return x


def convs(block: Block, inputs: int) -> Iterator[tuple[Conv, int]]:
  """Yields a block's convolutions in order, each with its input channels."""
  for branch in block:
    channels = inputs
    for part in branch:
      for conv in _beside(part):
        yield conv, channels
      channels = _outputs(part, channels)


def width(block: Block, inputs: int) -> int:
  """Channels that leave a block.

  >>> width((("max",), (Conv("a", 8), (Conv("b", 2), Conv("c", 3)))), 16)
  21
  """
  total = 0
  for branch in block:
    channels = inputs
    for part in branch:
      channels = _outputs(part, channels)
    total += channels
  return total


def _beside(part: Conv | tuple[Conv, ...] | Pool) -> tuple[Conv, ...]:
  """The convolutions of one part of a branch; a pool has none."""
  if isinstance(part, Conv):
    return (part,)
  return () if isinstance(part, str) else part


def _outputs(part: Conv | tuple[Conv, ...] | Pool, inputs: int) -> int:
  """Channels that leave one part of a branch; a pool keeps them."""
  return sum(conv.outputs for conv in _beside(part)) or inputs
