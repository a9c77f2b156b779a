"""A small net in the style of Inception that learns embeddings on a CPU.

Blocks as in Szegedy et al. 2015, https://arxiv.org/abs/1512.00567, section 3,
with far fewer channels.
"""

from collections.abc import Callable
import functools

from flax import nnx
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt8

from dicm_jax import errors
from dicm_jax.model import batch_norm, conv, mixed
from dicm_jax.model import layers as layers_lib
from dicm_jax.model.mixed import Block, Conv

IMAGE_SIZE = 64
MIN_IMAGE_SIZE = 16
"""What is left of it before the head is one pixel."""
CHANNELS = 64
"""Of the last map and of its reduction."""

_STEM: Block = ((Conv("conv1", 16, (3, 3), 2), Conv("conv2", 32, (3, 3), 2)),)
_MIXED: Block = (
  (Conv("one", 16),),
  (Conv("three_1", 16), Conv("three_2", 24, (3, 3))),
  (
    Conv("double_1", 8),
    Conv("double_2", 12, (3, 3)),
    Conv("double_3", 12, (3, 3)),
  ),
  ("average", Conv("pooled", 12)),
)
_HALVING: Block = (
  (Conv("three", 32, (3, 3), 2),),
  (
    Conv("double_1", 16),
    Conv("double_2", 24, (3, 3)),
    Conv("double_3", 32, (3, 3), 2),
  ),
)
_BLOCKS = (_STEM, _MIXED, _HALVING, _MIXED, _MIXED)


def _max_pool(x: Float[Array, "K H W C"]) -> Float[Array, "K h w C"]:
  return nnx.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")


def _strided(channels: int, **options) -> nnx.Module:
  return mixed.Unit(channels, Conv("last", channels, (3, 3), 2), **options)


LAST: dict[str, Callable[..., Callable[[Array], Array]]] = {
  "max": lambda channels, **_: _max_pool,
  "strided": _strided,
}
"""channels, norm, dtype, rngs -> what halves the side of the last map."""


class SmallInception(nnx.Module):
  """Pictures to embeddings of `width` numbers, all of it trained.

  Two strided convolutions, a block, a halving block, two blocks; the last map
  is halved once more and goes, flat, through one linear layer.

  Args:
    width: length of an embedding.
    image_size: side of the square pictures in pixels, at least 16.
    last: how the last map is halved, a key of LAST: by a strided convolution
      or by max pooling.
    groups: parts of a batch with statistics of their own; see `BatchNorm`.
    total: sums over the devices that share a batch.
    dtype: of the convolutions' arithmetic; parameters, statistics and result
      stay float32.
    rngs: source of the He-normal first values.

  Raises:
    InputError: too small a picture, or an unknown name.
  """

  def __init__(
    self,
    *,
    width: int,
    image_size: int = IMAGE_SIZE,
    last: str = "strided",
    groups: int = 1,
    total: layers_lib.Total = layers_lib.alone,
    dtype: DTypeLike = jnp.float32,
    rngs: nnx.Rngs,
  ):
    if image_size < MIN_IMAGE_SIZE:
      raise errors.InputError(
        f"small_inception: expected image_size of at least {MIN_IMAGE_SIZE}; "
        f"found {image_size}"
      )
    if last not in LAST:
      raise errors.unknown_name("last of small_inception", last, LAST)
    norm = functools.partial(batch_norm.BatchNorm, groups=groups, total=total)
    make = functools.partial(mixed.Mixed, norm=norm, dtype=dtype, rngs=rngs)
    self.dtype = dtype
    self.blocks = nnx.List()
    channels = 3
    for block in _BLOCKS:
      self.blocks.append(make(block, channels))
      channels = mixed.width(block, channels)
    self.last = LAST[last](CHANNELS, norm=norm, dtype=dtype, rngs=rngs)
    side = -(-image_size // 16)  # Four halvings, each rounded up.
    self.head = nnx.Linear(side * side * CHANNELS, width, rngs=rngs)
    conv.draw_kernels(self, rngs)

  def __call__(
    self, images: UInt8[Array, "K H W 3"]
  ) -> Float[Array, "K width"]:
    """Embeds pictures.

    Args:
      images: uint8 [K, image_size, image_size, 3] in RGB order.

    Returns:
      float32 [K, width], of both signs.
    """
    return self.head(self.reduced(images))

  def reduced(self, images: UInt8[Array, "K H W 3"]) -> Float[Array, "K F"]:
    """What the linear layer sees: float32, not negative, flat.

    Its share of zeros is how sparse the reduction of the last map is.
    """
    # No variables: a trainer of all there is would train them.
    x = (images.astype(jnp.float32) / 127.5 - 1).astype(self.dtype)
    for block in self.blocks:
      x = block(x)
    x = self.last(x)
    return x.astype(jnp.float32).reshape(len(x), -1)
