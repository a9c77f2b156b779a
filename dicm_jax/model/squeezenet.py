"""SqueezeNet 1.1 without its classifier: a small frozen image encoder.

Architecture: Iandola et al., "SqueezeNet" (arXiv 1602.07360), version 1.1.
Borders follow the Keras port that the bundled weights come from
(github.com/rcmalli/keras-squeezenet): the first convolution and the pools are
not padded, a last odd row or column is dropped.
"""

from flax import nnx
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt8

from dicm_jax.model import conv, weights

IMAGE_SIZE = 227
CUT = "fire9"
"""The one layer whose output may be taken."""
WIDTH = 512

# Keras preprocessing: BGR minus the mean of ImageNet, here in RGB order.
KERAS_MEAN = (123.0, 117.0, 104.0)

# (name, squeeze channels, expand channels of each half, pool before it)
_FIRES = (
  ("fire2", 16, 64, True),
  ("fire3", 16, 64, False),
  ("fire4", 32, 128, True),
  ("fire5", 32, 128, False),
  ("fire6", 48, 192, True),
  ("fire7", 48, 192, False),
  ("fire8", 64, 256, False),
  ("fire9", 64, 256, False),
)


class Fire(nnx.Module):
  """1 x 1 squeeze, then 1 x 1 and 3 x 3 expansions side by side."""

  def __init__(
    self,
    channels: int,
    squeeze: int,
    expand: int,
    *,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
  ):
    def make(inputs: int, outputs: int, side: int) -> nnx.Conv:
      return conv.make(inputs, outputs, side, dtype=dtype, rngs=rngs)

    self.squeeze1x1 = make(channels, squeeze, 1)
    self.expand1x1 = make(squeeze, expand, 1)
    self.expand3x3 = make(squeeze, expand, 3)

  def __call__(self, x: Float[Array, "K H W C"]) -> Float[Array, "K H W E"]:
    x = nnx.relu(self.squeeze1x1(x))
    return nnx.relu(
      jnp.concatenate([self.expand1x1(x), self.expand3x3(x)], axis=-1)
    )


class SqueezeNet(nnx.Module):
  """Pictures to 512 numbers, the mean of fire9 over the picture.

  Args:
    image_size: side of the square pictures in pixels.
    dtype: of the arithmetic; parameters and result stay float32.
    rngs: source of the He-normal first values.
  """

  def __init__(
    self,
    *,
    image_size: int = IMAGE_SIZE,
    dtype: DTypeLike = jnp.float32,
    rngs: nnx.Rngs,
  ):
    self.image_size = image_size
    self.dtype = dtype
    self.normalise = conv.Normalise(KERAS_MEAN, (1.0, 1.0, 1.0))
    self.conv1 = conv.make(
      3, 64, 3, strides=2, padding="VALID", dtype=dtype, rngs=rngs
    )
    self.fires = nnx.Dict()
    channels = 64
    for name, squeeze, expand, _ in _FIRES:
      self.fires[name] = Fire(channels, squeeze, expand, dtype=dtype, rngs=rngs)
      channels = 2 * expand

  def __call__(self, images: UInt8[Array, "K H W 3"]) -> Float[Array, "K 512"]:
    """Encodes pictures.

    Args:
      images: uint8 [K, image_size, image_size, 3] in RGB order.

    Returns:
      float32 [K, 512], not negative.
    """
    x = nnx.relu(self.conv1(self.normalise(images).astype(self.dtype)))
    for name, _, _, pool in _FIRES:
      if pool:
        x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding="VALID")
      x = self.fires[name](x)
    return jnp.mean(x.astype(jnp.float32), axis=(1, 2))


def layers(image_size: int = IMAGE_SIZE) -> tuple[weights.Layer, ...]:
  """Says where each tensor of a weights file belongs.

  Args:
    image_size: not used: no layer's shape depends on it.

  Returns:
    The 25 layers in Keras names. There are none in torchvision's: its
    SqueezeNet pools with other borders, so its weights would give features
    that look right and are not.
  """
  del image_size
  found = [weights.Layer("conv1", ("conv1",), (3, 3, 3, 64), sees_image=True)]
  channels = 64
  for name, squeeze, expand, _ in _FIRES:
    for part, side, inputs, outputs in (
      ("squeeze1x1", 1, channels, squeeze),
      ("expand1x1", 1, squeeze, expand),
      ("expand3x3", 3, squeeze, expand),
    ):
      found.append(
        weights.Layer(
          f"{name}/{part}",
          ("fires", name, part),
          (side, side, inputs, outputs),
        )
      )
    channels = 2 * expand
  return tuple(found)
