"""Inception v3 with layers of its own on top, all of it trained.

Source: CNN embeddings for ad ranking, JD.com, stage 1: Inception v3, trained
pairwise, with a strided convolution where the layers added to it would pool.
"""

import functools

from flax import nnx
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from dicm_jax.model import batch_norm, conv, inception, mixed, small_inception
from dicm_jax.model import layers as layers_lib
from dicm_jax.model.mixed import Conv

CHANNELS = 192
"""Of the last map, after a 1 x 1 convolution of Inception's 2048."""


class InceptionEncoder(nnx.Module):
  """Pictures to embeddings of `width` numbers.

  Inception v3's last map is made narrower by a 1 x 1 convolution, halved, and
  goes, flat, through one linear layer.

  Args:
    width: length of an embedding.
    image_size: side of the square pictures in pixels, at least 75.
    last: how the last map is halved, a key of small_inception.LAST.
    groups: parts of a batch with statistics of their own; see `BatchNorm`.
    total: sums over the devices that share a batch.
    rngs: source of the He-normal first values.

  Raises:
    InputError: too small a picture.
  """

  def __init__(
    self,
    *,
    width: int,
    image_size: int,
    last: str = "strided",
    groups: int = 1,
    total: layers_lib.Total = layers_lib.alone,
    rngs: nnx.Rngs,
  ):
    self.body = inception.InceptionV3(
      image_size=image_size, groups=groups, total=total, rngs=rngs
    )
    norm = functools.partial(batch_norm.BatchNorm, groups=groups, total=total)
    options = {"norm": norm, "dtype": jnp.float32, "rngs": rngs}
    narrow = Conv("narrow", CHANNELS)
    self.narrow = mixed.Unit(inception.WIDTH, narrow, **options)
    self.last = small_inception.LAST[last](CHANNELS, **options)
    side = -(-inception.last_side(image_size) // 2)
    self.head = nnx.Linear(side * side * CHANNELS, width, rngs=rngs)
    conv.draw_kernels(self, rngs)

  def __call__(
    self, images: UInt8[Array, "K H W 3"]
  ) -> Float[Array, "K width"]:
    """Embeds uint8 pictures in RGB order; float32, of both signs."""
    return self.head(self.reduced(images))

  def reduced(self, images: UInt8[Array, "K H W 3"]) -> Float[Array, "K F"]:
    """What the linear layer sees: float32, not negative, flat."""
    x = self.last(self.narrow(self.body.maps(images)["Mixed_7c"]))
    return x.astype(jnp.float32).reshape(len(x), -1)
