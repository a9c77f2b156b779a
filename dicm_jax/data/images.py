"""Encoded pictures (JPEG, PNG, WebP, ...) to square uint8 RGB arrays."""

from collections.abc import Sequence
import concurrent.futures
import io

from jaxtyping import UInt8
import numpy as np
from PIL import Image, ImageOps

from dicm_jax import errors

VERSION = 1
"""Grows whenever the same bytes decode to other pixels: caches depend on it."""

MAX_PIXELS = 64_000_000
"""Largest width x height that is decoded; 64 Mpx is 192 MB as RGB."""

# Pillow's other readers serve rare formats, and some (EPS) start programs.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def decode(
  data: bytes, *, name: str, size: int
) -> UInt8[np.ndarray, "size size 3"]:
  """Decodes one picture and squeezes the whole of it into a square.

  Nothing is cropped: the hem of a dress or the sole of a shoe matters more
  than the true proportions. The rotation noted by the camera (EXIF) is
  applied, transparency is laid over white, 16-bit grey keeps its upper bits,
  and of an animation the first frame counts.

  Args:
    data: the encoded picture.
    name: what error messages call it, usually the file name.
    size: side of the square in pixels, at least 1.

  Returns:
    uint8 [size, size, 3] in the order red, green, blue.

  Raises:
    errors.InputError: the picture is empty, damaged, cut short, of an unknown
      format or larger than `MAX_PIXELS`.
  """
  if not data:
    raise errors.InputError(f"{name}: the file is empty; expected a picture")
  try:
    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
      # Only the header has been read here, so a bomb costs nothing.
      _refuse_huge(image, name)
      # JPEG can skip detail that the resize would drop: 2-4 times faster.
      image.draft(None, (2 * size, 2 * size))
      image.load()
      rgb = _rgb(_upright(image))
    small = rgb.resize((size, size), Image.Resampling.BICUBIC)
  except errors.InputError:
    raise
  except (Image.DecompressionBombError, Image.DecompressionBombWarning) as e:
    raise errors.InputError(f"{name}: {_limit()}; found: {e}") from e
  except Image.UnidentifiedImageError as e:
    raise errors.InputError(
      f"{name}: not a picture in a known format"
      f" (known: {', '.join(_FORMATS)}; {len(data)} bytes)"
    ) from e
  # Decoders meeting damaged bytes raise nearly anything: OSError, SyntaxError,
  # struct.error, zlib.error, IndexError, ...
  except Exception as e:
    raise errors.InputError(
      f"{name}: damaged or cut short picture ({len(data)} bytes): {e}"
    ) from e
  return np.array(small, np.uint8)


def decode_all(
  images: Sequence[bytes], names: Sequence[str], size: int, workers: int = 2
) -> UInt8[np.ndarray, "K size size 3"]:
  """Decodes pictures in threads; the result does not depend on `workers`.

  Args:
    images: encoded pictures, any number K.
    names: what error messages call each of them.
    size: side of the squares in pixels.
    workers: number of threads (Pillow decodes without the interpreter lock).

  Returns:
    uint8 [K, size, size, 3], in the order given.

  Raises:
    errors.InputError: as `decode`, about the first wrong picture; or there
      are not as many names as pictures.
  """
  if len(images) != len(names):
    raise errors.InputError(
      f"expected a name for each picture; found {len(images)} pictures and"
      f" {len(names)} names"
    )
  squares = np.empty((len(images), size, size, 3), np.uint8)

  def fill(row: int) -> None:
    squares[row] = decode(images[row], name=names[row], size=size)

  pool = concurrent.futures.ThreadPoolExecutor(workers)
  try:
    for _ in pool.map(fill, range(len(images))):
      pass
  finally:
    pool.shutdown(cancel_futures=True)
  return squares


def _refuse_huge(image: Image.Image, name: str) -> None:
  width, height = image.size
  if width * height > MAX_PIXELS:
    raise errors.InputError(f"{name}: {_limit()}; found {width} x {height}")


def _limit() -> str:
  return f"expected a picture of at most {MAX_PIXELS:,} pixels"


def _upright(image: Image.Image) -> Image.Image:
  """Applies the camera's rotation; wrong EXIF data counts as none."""
  try:
    return ImageOps.exif_transpose(image)
  # Cameras and shops write broken EXIF blocks around good pixels, and what
  # the parser raises then depends on the kind of damage.
  except Exception:
    return image


def _rgb(image: Image.Image) -> Image.Image:
  if image.mode == "I" or image.mode.startswith("I;16"):
    # convert("L") clips 16-bit values at 255 instead of scaling them.
    grey = np.clip(np.asarray(image, np.float32) / 257, 0, 255)
    image = Image.fromarray(np.rint(grey).astype(np.uint8))
  if image.has_transparency_data:
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    image = Image.alpha_composite(white, layer)
  return image.convert("RGB")
