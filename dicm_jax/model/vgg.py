"""VGG16 from its first convolution to a cut, the paper's fixed image encoder.

Architecture: Simonyan and Zisserman (arXiv 1409.1556), configuration D. DICM
(arXiv 1711.06505, section 4.2) cuts behind fc6 and feeds its 4096 numbers to
its trainable layers; its experiments try other cuts. The paper does not say
whether before or after the ReLU; here it is after, where VGG's own next layer
reads them (torchvision: `features`, `classifier[0]`, ReLU; Keras: the output of
layer `fc1`). fc8, the last layer, has no ReLU: its 1000 numbers are logits.
"""

from typing import NamedTuple

from flax import nnx
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt8

from dicm_jax.model import conv, weights

IMAGE_SIZE = 224
CUT = "fc6"
"""Where the paper cuts."""

# Mean and factor in RGB order, as each family of weights was trained.
KERAS_INPUT = ((123.68, 116.779, 103.939), (1.0, 1.0, 1.0))
TORCHVISION_INPUT = (
  (255 * 0.485, 255 * 0.456, 255 * 0.406),
  (1 / (255 * 0.229), 1 / (255 * 0.224), 1 / (255 * 0.225)),
)

# Output channels of each block's convolutions; a 2 x 2 pool ends each block.
_BLOCKS = ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3)


class _Dense(NamedTuple):
  """One dense layer and its names in weights files."""

  name: str
  keras: str
  torch: str
  outputs: int


_DENSE = (
  _Dense("fc6", "fc1", "classifier.0", 4096),
  _Dense("fc7", "fc2", "classifier.3", 4096),
  _Dense("fc8", "predictions", "classifier.6", 1000),
)
CUTS = ("conv5", *(dense.name for dense in _DENSE))
"""Layers whose output may be taken, bottom up; conv5: the last pool's."""


class VGG16(nnx.Module):
  """Pictures to the numbers of one layer.

  Args:
    cut: the layer, one of `CUTS`; those above it are not built.
    image_size: side of the square pictures in pixels, a multiple of 32.
    dtype: of the arithmetic; parameters and result stay float32.
    rngs: source of the He-normal first values.
  """

  def __init__(
    self,
    *,
    cut: str = CUT,
    image_size: int = IMAGE_SIZE,
    dtype: DTypeLike = jnp.float32,
    rngs: nnx.Rngs,
  ):
    self.cut = cut
    self.dtype = dtype
    self.normalise = conv.Normalise(*TORCHVISION_INPUT)
    self.convs = nnx.Dict()
    channels = 3
    for name, outputs, _ in _convs():
      self.convs[name] = conv.make(channels, outputs, 3, dtype=dtype, rngs=rngs)
      channels = outputs
    inputs = width("conv5", image_size)
    self.dense = nnx.Dict()
    for dense in _dense(cut):
      self.dense[dense.name] = nnx.Linear(
        inputs,
        dense.outputs,
        dtype=dtype,
        kernel_init=nnx.initializers.he_normal(),
        rngs=rngs,
      )
      inputs = dense.outputs

  def __call__(self, images: UInt8[Array, "K H W 3"]) -> Float[Array, "K F"]:
    """Encodes pictures.

    Args:
      images: uint8 [K, image_size, image_size, 3] in RGB order.

    Returns:
      float32 [K, F], not negative unless the cut is fc8; F: see `width`.
      conv5 is flattened row by row, channels last.
    """
    x = self.normalise(images).astype(self.dtype)
    for name, _, pool in _convs():
      x = nnx.relu(self.convs[name](x))
      if pool:
        x = nnx.max_pool(x, (2, 2), strides=(2, 2))
    x = x.reshape(len(x), -1)
    for dense in _dense(self.cut):
      x = self.dense[dense.name](x)
      if dense != _DENSE[-1]:
        x = nnx.relu(x)
    return x.astype(jnp.float32)


def width(cut: str, image_size: int = IMAGE_SIZE) -> int:
  """Length F of the feature vector at a cut.

  >>> [width(cut) for cut in CUTS]
  [25088, 4096, 4096, 1000]
  """
  dense = _dense(cut)
  return dense[-1].outputs if dense else 512 * (image_size // 32) ** 2


def layers(
  image_size: int = IMAGE_SIZE, *, cut: str = CUT
) -> tuple[weights.Layer, ...]:
  """Says where each tensor of a weights file belongs.

  Args:
    image_size: side of the pictures in pixels: it fixes the shape of fc6, so
      published weights fit 224 only, unless the cut lies below it.
    cut: the last layer needed, one of `CUTS`.

  Returns:
    The 13 convolutions and the dense layers up to the cut, in Keras and in
    torchvision names.
  """
  found = []
  channels, place = 3, 0
  for name, outputs, pool in _convs():
    found.append(
      weights.Layer(
        name,
        ("convs", name),
        (3, 3, channels, outputs),
        torch=f"features.{place}",
        sees_image=channels == 3,
      )
    )
    # torchvision counts the ReLU after a convolution and the pools too.
    place += 3 if pool else 2
    channels = outputs
  side = image_size // 32
  inputs = side * side * channels
  for dense in _dense(cut):
    found.append(
      weights.Layer(
        dense.keras,
        ("dense", dense.name),
        (inputs, dense.outputs),
        torch=dense.torch,
        flattened=(side, side, channels) if dense == _DENSE[0] else None,
      )
    )
    inputs = dense.outputs
  return tuple(found)


def _dense(cut: str) -> tuple[_Dense, ...]:
  """The dense layers up to the cut."""
  return _DENSE[: CUTS.index(cut)]


def _convs() -> list[tuple[str, int, bool]]:
  """Lists the convolutions: Keras name, output channels, pool after it."""
  return [
    (f"block{b}_conv{i}", outputs, i == len(block))
    for b, block in enumerate(_BLOCKS, 1)
    for i, outputs in enumerate(block, 1)
  ]
