"""VGG16 from its first convolution to fc6, the paper's fixed image encoder.

Architecture: Simonyan and Zisserman (arXiv 1409.1556), configuration D. DICM
(arXiv 1711.06505, section 4.2) feeds fc6's 4096 numbers to its trainable
layers. The paper does not say whether before or after the ReLU; here it is
after, where VGG's own next layer reads them (torchvision: `features`,
`classifier[0]`, ReLU; Keras: the output of layer `fc1`).
"""

from flax import nnx
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt8

from dicm_jax.model import conv, weights

IMAGE_SIZE = 224
WIDTH = 4096

# Mean and factor in RGB order, as each family of weights was trained.
KERAS_INPUT = ((123.68, 116.779, 103.939), (1.0, 1.0, 1.0))
TORCHVISION_INPUT = (
  (255 * 0.485, 255 * 0.456, 255 * 0.406),
  (1 / (255 * 0.229), 1 / (255 * 0.224), 1 / (255 * 0.225)),
)

# Output channels of each block's convolutions; a 2 x 2 pool ends each block.
_BLOCKS = ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3)


class VGG16(nnx.Module):
  """Pictures to 4096 numbers.

  Args:
    image_size: side of the square pictures in pixels, a multiple of 32.
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
    self.dtype = dtype
    self.normalise = conv.Normalise(*TORCHVISION_INPUT)
    self.convs = nnx.Dict()
    channels = 3
    for name, outputs, _ in _convs():
      self.convs[name] = conv.make(channels, outputs, 3, dtype=dtype, rngs=rngs)
      channels = outputs
    self.fc6 = nnx.Linear(
      channels * (image_size // 32) ** 2,
      WIDTH,
      dtype=dtype,
      kernel_init=nnx.initializers.he_normal(),
      rngs=rngs,
    )

  def __call__(self, images: UInt8[Array, "K H W 3"]) -> Float[Array, "K 4096"]:
    """Encodes pictures.

    Args:
      images: uint8 [K, image_size, image_size, 3] in RGB order.

    Returns:
      float32 [K, 4096], not negative.
    """
    x = self.normalise(images).astype(self.dtype)
    for name, _, pool in _convs():
      x = nnx.relu(self.convs[name](x))
      if pool:
        x = nnx.max_pool(x, (2, 2), strides=(2, 2))
    x = nnx.relu(self.fc6(x.reshape(len(x), -1)))
    return x.astype(jnp.float32)


def layers(image_size: int = IMAGE_SIZE) -> tuple[weights.Layer, ...]:
  """Says where each tensor of a weights file belongs.

  Args:
    image_size: side of the pictures in pixels: it fixes the shape of fc6, so
      published weights fit 224 only.

  Returns:
    The 13 convolutions and fc6, in Keras and in torchvision names.
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
  fc6 = weights.Layer(
    "fc1",
    ("fc6",),
    (side * side * channels, WIDTH),
    torch="classifier.0",
    flattened=(side, side, channels),
  )
  return (*found, fc6)


def _convs() -> list[tuple[str, int, bool]]:
  """Lists the convolutions: Keras name, output channels, pool after it."""
  return [
    (f"block{b}_conv{i}", outputs, i == len(block))
    for b, block in enumerate(_BLOCKS, 1)
    for i, outputs in enumerate(block, 1)
  ]
