"""Encoded pictures (JPEG, PNG, WebP, ...) to square uint8 RGB arrays."""

from collections.abc import Iterable, Iterator, Sequence
import concurrent.futures
import contextlib
import importlib.util
import io
import os
import threading

from jaxtyping import UInt8
import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from dicm_jax import errors

VERSION = 1
"""Grows whenever the same bytes decode to other pixels: caches depend on it."""

MAX_BYTES = 64 << 20
"""Largest encoded picture: readers stop there, so none fills the memory."""

MAX_PIXELS = 64_000_000
"""Largest width x height that is decoded; 64 Mpx take Pillow 256 MB as RGB."""

MAX_SIDE = 65_535
"""Largest width and height: all that JPEG and GIF can say."""

# Pillow's other readers serve rare formats, and some (EPS) start programs.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
if importlib.util.find_spec("PIL._avif"):  # Builds of Pillow may lack it.
  _FORMATS += ("AVIF",)

# Pixels converted at a time: 4 MB as RGB, about what a processor caches.
_STRIP_PIXELS = 1 << 20

# What turns a picture upright, by the number of its EXIF orientation.
_TURNS = {
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}
# Turns after which rows are what columns were, or come in reverse.
_SIDEWAYS = tuple(_TURNS[n] for n in (5, 6, 7, 8))
_BACKWARDS = tuple(_TURNS[n] for n in (3, 4, 7, 8))

# Tags of TIFF.
_TILE_WIDTH, _TILE_LENGTH = 322, 323


def processors() -> int:
  """Threads that decode best: one a processor."""
  return os.cpu_count() or 1


class _Budget:
  """Pixels that all threads together may decode at a time.

  A picture larger than what is left waits for others to end, so the memory of
  any number of threads is that of one of the largest pictures.
  """

  def __init__(self, pixels: int):
    self._left = self._all = pixels
    self._changed = threading.Condition()

  @contextlib.contextmanager
  def share(self, pixels: int) -> Iterator[None]:
    pixels = min(pixels, self._all)
    with self._changed:
      self._changed.wait_for(lambda: self._left >= pixels)
      self._left -= pixels
    try:
      yield
    finally:
      with self._changed:
        self._left += pixels
        self._changed.notify_all()


_AT_ONCE = _Budget(MAX_PIXELS)


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
      format, of 32 bits a channel, or larger than `MAX_BYTES`, `MAX_PIXELS` or
      `MAX_SIDE`.
  """
  if not data:
    raise errors.InputError(f"{name}: the file is empty; expected a picture")
  if len(data) > MAX_BYTES:
    raise errors.InputError(
      f"{name}: expected a picture of at most {MAX_BYTES >> 20} MiB; found more"
    )
  try:
    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
      # Only the header has been read here, so a bomb costs nothing.
      _refuse_huge(image, name)
      _refuse_deep(image, name)
      pixels = image.width * image.height
      # JPEG can skip detail that the resize would drop: 2-4 times faster.
      image.draft(None, (2 * size, 2 * size))
      with _AT_ONCE.share(pixels):
        image.load()
        small = _squeezed(image, size)
  except errors.InputError:
    raise
  except (Image.DecompressionBombError, Image.DecompressionBombWarning) as e:
    raise errors.InputError(f"{name}: {_limit()}; found: {e}") from e
  except Image.UnidentifiedImageError as e:
    raise errors.InputError(
      f"{name}: not a picture in a known format (known: {', '.join(_FORMATS)}; "
      f"found {len(data)} bytes that start with {data[:16]!r})"
    ) from e
  # Decoders meeting damaged bytes raise nearly anything: OSError, SyntaxError,
  # struct.error, zlib.error, IndexError, ...
  except Exception as e:
    raise errors.InputError(
      f"{name}: damaged or cut short picture ({len(data)} bytes): "
      f"{str(e) or type(e).__name__}"
    ) from e
  return np.array(small, np.uint8)


def upright_size(data: bytes) -> tuple[int, int]:
  """Width and height, turned upright, of a picture that `decode` takes."""
  with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
    width, height = image.size
    return (height, width) if _turn(image) in _SIDEWAYS else (width, height)


def decode_rows(
  images: Sequence[bytes],
  names: Sequence[str],
  rows: Iterable[int],
  size: int,
) -> UInt8[np.ndarray, "K size size 3"]:
  """As `decode_all`, for some of the pictures; no others are read."""
  rows = list(rows)
  some = [images[row] for row in rows], [names[row] for row in rows]
  return decode_all(*some, size)


def decode_all(
  images: Sequence[bytes],
  names: Sequence[str],
  size: int,
  workers: int | None = None,
) -> UInt8[np.ndarray, "K size size 3"]:
  """Decodes pictures in threads; the result does not depend on `workers`.

  Args:
    images: encoded pictures, any number K.
    names: what error messages call each of them.
    size: side of the squares in pixels.
    workers: threads (Pillow decodes without the interpreter lock); None:
      one a processor.

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

  pool = concurrent.futures.ThreadPoolExecutor(workers or processors())
  try:
    for _ in pool.map(fill, range(len(images))):
      pass
  finally:
    pool.shutdown(cancel_futures=True)
  return squares


def _refuse_huge(image: Image.Image, name: str) -> None:
  sizes = [image.size]
  if isinstance(image, TiffImagePlugin.TiffImageFile):
    # A TIFF of a few pixels may consist of one tile of billions.
    sizes.append((_tag(image, _TILE_WIDTH), _tag(image, _TILE_LENGTH)))
  for width, height in sizes:
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
      raise errors.InputError(f"{name}: {_limit()}; found {width} x {height}")


def _tag(image: TiffImagePlugin.TiffImageFile, tag: int) -> int:
  return int(image.tag_v2.get(tag, 0))


def _limit() -> str:
  return (
    f"expected a picture of at most {MAX_PIXELS:,} pixels, no side longer than "
    f"{MAX_SIDE:,}"
  )


def _refuse_deep(image: Image.Image, name: str) -> None:
  # Nothing says which of such values is white. (Mode I of a PNG has 16 bits.)
  if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
    raise errors.InputError(
      f"{name}: expected at most 16 bits a channel, found 32-bit "
      f"{'numbers with a point' if image.mode == 'F' else 'integers'}"
    )


def _squeezed(image: Image.Image, size: int) -> Image.Image:
  """The loaded picture, upright, as size x size RGB.

  Equal to converting and resizing all of it, bit for bit, as Pillow resizes
  rows before columns. But Pillow needs 4 bytes a pixel for each step of a
  conversion, up to 1.2 GB for the largest pictures; strips need next to none.
  """
  strips = [
    _rgb(strip).resize((size, strip.height), Image.Resampling.BICUBIC)
    for strip in _strips(image)
  ]
  narrow = Image.new("RGB", (size, sum(strip.height for strip in strips)))
  top = 0
  for strip in strips:
    narrow.paste(strip, (0, top))
    top += strip.height
  return narrow.resize((size, size), Image.Resampling.BICUBIC)


def _strips(image: Image.Image) -> Iterator[Image.Image]:
  """Cuts the upright picture into strips of rows, from the top."""
  turn = _turn(image)
  width, height = image.size
  sideways = turn in _SIDEWAYS
  length, row = (width, height) if sideways else (height, width)
  step = max(1, _STRIP_PIXELS // row)
  for start in range(0, length, step):
    stop = min(start + step, length)
    low, high = (
      (length - stop, length - start) if turn in _BACKWARDS else (start, stop)
    )
    strip = image.crop(
      (low, 0, high, height) if sideways else (0, low, width, high)
    )
    yield strip if turn is None else strip.transpose(turn)


def _turn(image: Image.Image) -> Image.Transpose | None:
  """Undoes the camera's rotation; wrong EXIF data counts as none."""
  try:
    return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
  # Cameras and shops write broken EXIF blocks around good pixels, and what
  # the parser raises then depends on the kind of damage.
  except Exception:
    return None


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
