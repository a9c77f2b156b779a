"""Visual attributes of a garment, measured with plain image statistics.

No network takes part: the built-in sample bases its simulated tastes on these
numbers, so a model that learns the tastes has to see them in the pixels.
"""

from collections.abc import Sequence
import io

from jaxtyping import Float
import numpy as np
from PIL import Image

from dicm_jax import errors

ATTRIBUTES = (
  "warmth",
  "greenness",
  "brightness",
  "saturation",
  "pattern",
  "elongation",
)

# Decoded size of the short side: folds and stripes still show, and a thousand
# photographs take about two seconds.
_SHORT_SIDE = 80
# Width of the frame along the border that counts as background.
_BORDER = 0.06
# Squared Mahalanobis distance from the background at which a pixel is half
# garment; background pixels have 3 on average, one a colour channel.
_HALF_GARMENT = 9.0
# Standard deviation of the centre weight, in units of the root of the area.
_CENTRE = 0.3
# Added to the background's colour variance, so that a background of a single
# colour (a studio backdrop) can be inverted; (2.5 / 255)^2.
_COLOUR_VARIANCE = 1e-4


def decode(encoded: bytes, name: str) -> Float[np.ndarray, "H W 3"]:
  """Decodes a picture to RGB in [0, 1], its short side about 80 pixels.

  Raises:
    InputError: it is damaged, cut short or none; the text begins with `name`.
  """
  try:
    return _decode(encoded)
  # Decoders meeting damaged bytes raise nearly anything, not OSError alone.
  except Exception as e:
    raise errors.InputError(
      f"{name}: damaged or cut short picture ({len(encoded)} bytes): {e}"
    ) from e


def _decode(encoded: bytes) -> Float[np.ndarray, "H W 3"]:
  image = Image.open(io.BytesIO(encoded))
  scale = _SHORT_SIDE / min(image.size)
  width, height = (max(1, round(side * scale)) for side in image.size)
  # JPEG can decode at half the size, which saves most of the work.
  image.draft("RGB", (width, height))
  small = image.convert("RGB").resize(
    (width, height), Image.Resampling.BILINEAR
  )
  return np.asarray(small, np.float64) / 255.0


def garment_weight(
  pixels: Float[np.ndarray, "H W 3"],
) -> Float[np.ndarray, "H W"]:
  """Weighs each pixel by how likely it belongs to the garment.

  The background's colour is a Gaussian fitted to the frame along the border;
  a pixel counts the more the farther its colour is from it and the nearer it
  lies to the centre.

  Args:
    pixels: RGB in [0, 1].

  Returns:
    float64 weights that sum to 1.
  """
  height, width, _ = pixels.shape
  frame = max(1, round(_BORDER * min(height, width)))
  border = np.ones((height, width), bool)
  border[frame : height - frame, frame : width - frame] = False
  samples = pixels[border]
  variance = np.cov(samples.T) + _COLOUR_VARIANCE * np.eye(3)
  offset = pixels - samples.mean(0)
  distance = np.einsum(
    "hwc,cd,hwd->hw", offset, np.linalg.inv(variance), offset
  )
  y, x = _centred_grid(height, width)
  centre = np.exp(-(y**2 + x**2) / (2 * _CENTRE**2 * height * width))
  # The floor keeps a picture of one colour from having no garment at all.
  weight = centre * (distance**2 / (distance**2 + _HALF_GARMENT**2) + 1e-3)
  return weight / weight.sum()


def measure(
  pixels: Float[np.ndarray, "H W 3"],
) -> Float[np.ndarray, " A"]:
  """Measures the attributes of one picture, in the order of ATTRIBUTES.

  Args:
    pixels: RGB in [0, 1].

  Returns:
    float64 [A]: red minus blue; green minus the mean of red and blue; luma;
    largest minus smallest channel; root of the mean gradient magnitude of the
    luma (a root, as a few busy prints would outweigh all others); log of the
    vertical over the horizontal spread.
  """
  weight = garment_weight(pixels)
  red, green, blue = np.einsum("hw,hwc->c", weight, pixels)
  luma = pixels @ np.array([0.299, 0.587, 0.114])
  chroma = pixels.max(-1) - pixels.min(-1)
  gradient = np.hypot(*np.gradient(luma))
  y, x = _centred_grid(*weight.shape)
  return np.array(
    [
      red - blue,
      green - (red + blue) / 2,
      (weight * luma).sum(),
      (weight * chroma).sum(),
      np.sqrt((weight * gradient).sum()),
      np.log(_spread(weight, y) / _spread(weight, x)),
    ]
  )


def measure_all(
  encoded: Sequence[bytes], names: Sequence[str]
) -> Float[np.ndarray, "R A"]:
  """Measures many pictures and standardises each attribute over them.

  Args:
    encoded: the encoded pictures.
    names: what error messages call each of them.

  Returns:
    float64 [R, A]: mean 0 and standard deviation 1 in each column (an
    attribute equal in all pictures is 0), beyond 3 cut to 3: a dozen extreme
    pictures would otherwise rule the tastes.

  Raises:
    InputError: as `decode`, about the first wrong picture.
  """
  pairs = zip(encoded, names, strict=True)
  raw = np.stack([measure(decode(picture, name)) for picture, name in pairs])
  deviation = raw.std(0)
  standard = (raw - raw.mean(0)) / np.where(deviation > 1e-9, deviation, 1.0)
  return np.clip(standard, -3.0, 3.0)


def _centred_grid(
  height: int, width: int
) -> tuple[Float[np.ndarray, "H W"], Float[np.ndarray, "H W"]]:
  y, x = np.mgrid[:height, :width].astype(np.float64)
  return y - (height - 1) / 2, x - (width - 1) / 2


def _spread(
  weight: Float[np.ndarray, "H W"], along: Float[np.ndarray, "H W"]
) -> np.float64:
  mean = (weight * along).sum()
  # Half a pixel keeps the logarithm finite for a line one pixel wide.
  return np.sqrt((weight * (along - mean) ** 2).sum() + 0.25)
