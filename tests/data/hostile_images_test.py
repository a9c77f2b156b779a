"""Pictures as the world has them: decoded properly, or reported by name."""

import io
import random
import struct
import subprocess
import sys
import zlib

import numpy as np
from PIL import Image
import pytest

from dicm_jax import errors
from dicm_jax.data import images

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (24, 40, 3), np.uint8)
PIXELS[:12] //= 8  # Dark above, bright below.


def encoded(image: Image.Image, kind: str, **options) -> bytes:
  out = io.BytesIO()
  image.save(out, kind, **options)
  return out.getvalue()


def rgb() -> Image.Image:
  return Image.fromarray(PIXELS)


def decode(data: bytes, size: int = 16) -> np.ndarray:
  return images.decode(data, name="it", size=size)


def brightness(data: bytes) -> tuple[float, float]:
  """Of the upper and the lower half."""
  found = decode(data).astype(float)
  return found[:7].mean(), found[9:].mean()


KINDS = {
  "png": lambda: encoded(rgb(), "PNG"),
  "jpeg": lambda: encoded(rgb(), "JPEG", quality=95),
  "progressive jpeg": lambda: encoded(
    rgb(), "JPEG", quality=95, progressive=True
  ),
  "cmyk jpeg": lambda: encoded(rgb().convert("CMYK"), "JPEG", quality=95),
  "grey jpeg": lambda: encoded(rgb().convert("L"), "JPEG"),
  "palette png": lambda: encoded(rgb().quantize(64), "PNG"),
  "palette gif": lambda: encoded(rgb(), "GIF"),
  "webp": lambda: encoded(rgb(), "WEBP", quality=95),
  "bmp": lambda: encoded(rgb(), "BMP"),
  "tiff of pages": lambda: encoded(
    rgb(), "TIFF", save_all=True, append_images=[Image.new("RGB", (9, 9))] * 50
  ),
  "animated gif": lambda: encoded(
    rgb(), "GIF", save_all=True, append_images=[Image.new("RGB", (40, 24))]
  ),
  "animated webp": lambda: encoded(
    rgb(), "WEBP", save_all=True, append_images=[Image.new("RGB", (40, 24))]
  ),
  "16 bits": lambda: encoded(
    Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257), "PNG"
  ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_dark_above_and_bright_below(kind):
  above, below = brightness(KINDS[kind]())
  assert above < 30
  assert 90 < below < 165


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_cameras_rotation_is_undone(orientation):
  turned = {
    1: PIXELS,
    2: PIXELS[:, ::-1],
    3: PIXELS[::-1, ::-1],
    4: PIXELS[::-1],
    5: PIXELS.transpose(1, 0, 2),
    6: np.rot90(PIXELS, 1),
    7: np.rot90(PIXELS, 2).transpose(1, 0, 2),
    8: np.rot90(PIXELS, -1),
  }[orientation]
  exif = Image.Exif()
  exif[0x0112] = orientation
  data = encoded(
    Image.fromarray(np.ascontiguousarray(turned)), "PNG", exif=exif
  )
  np.testing.assert_array_equal(decode(data), decode(KINDS["png"]()))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_every_mode_of_png(mode):
  image = Image.new(mode if mode != "I;16" else "I;16", (5, 3))
  assert decode(encoded(image, "PNG")).shape == (16, 16, 3)


def test_transparent_is_white():
  clear = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
  assert decode(encoded(clear, "PNG")).min() == 255


def test_one_pixel_fills_the_square():
  one = encoded(Image.new("RGB", (1, 1), (10, 20, 30)), "PNG")
  assert (decode(one) == [10, 20, 30]).all()


def test_strips_change_no_bit(monkeypatch):
  """Decoding in strips equals decoding the whole."""
  whole = {kind: decode(make()) for kind, make in KINDS.items()}
  monkeypatch.setattr(images, "_STRIP_PIXELS", 80)
  for kind, make in KINDS.items():
    np.testing.assert_array_equal(decode(make()), whole[kind])


def png_of(width: int, height: int, rows: bytes, extra: bytes = b"") -> bytes:
  def chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

  header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
  return (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", header)
    + extra
    + chunk(b"IDAT", rows)
    + chunk(b"IEND", b"")
  )


def zeros(count: int) -> bytes:
  packer = zlib.compressobj(9)
  block = bytes(1 << 20)
  parts = [packer.compress(block) for _ in range(count >> 20)]
  parts.append(packer.compress(bytes(count & ((1 << 20) - 1))) + packer.flush())
  return b"".join(parts)


def text_bomb() -> bytes:
  """A small picture with a comment of 200 MB once unpacked."""
  data = b"Comment\x00\x00" + zeros(200 << 20)
  check = struct.pack(">I", zlib.crc32(b"zTXt" + data))
  chunk = struct.pack(">I", len(data)) + b"zTXt" + data + check
  return png_of(8, 8, zlib.compress(bytes(16)), chunk)


HOSTILE = {
  "no bytes": lambda: b"",
  "a page": lambda: b"<html><body>404</body></html>",
  "cut jpeg": lambda: KINDS["jpeg"]()[:-300],
  "cut png": lambda: KINDS["png"]()[:-60],
  "cut gif": lambda: KINDS["palette gif"]()[:200],
  "cut webp": lambda: KINDS["webp"]()[:150],
  "noise after a header": lambda: KINDS["jpeg"]()[:20] + RNG.bytes(500),
  "40000 x 40000 claimed": lambda: png_of(40_000, 40_000, b""),
  "40000 x 40000": lambda: png_of(40_000, 40_000, zeros(40_000 * 5001)),
  "32 bits": lambda: encoded(Image.new("F", (4, 4)), "TIFF"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_cannot_be_decoded_is_reported(kind):
  with pytest.raises(errors.InputError, match=r"^it: "):
    decode(HOSTILE[kind]())


def test_decoding_bounds_memory(tmp_path):
  """Bombs, and the largest picture allowed, in a process of its own."""
  bombs = {
    "bomb.png": HOSTILE["40000 x 40000"](),
    "claim.png": HOSTILE["40000 x 40000 claimed"](),
    "text.png": text_bomb(),
    "large.png": png_of(8000, 8000, zeros(8000 * 1001)),
  }
  for name, data in bombs.items():
    (tmp_path / name).write_bytes(data)
  program = """
import pathlib, resource, sys
from dicm_jax import errors
from dicm_jax.data import images
def peak():
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
for name in ("bomb.png", "claim.png", "text.png", "large.png"):
  data = pathlib.Path(sys.argv[1], name).read_bytes()
  try:
    images.decode(data, name=name, size=32)
  except errors.InputError:
    pass
  print(name, peak() - before)
"""
  out = subprocess.run(
    [sys.executable, "-c", program, str(tmp_path)],
    capture_output=True,
    text=True,
    check=True,
  ).stdout
  grown = {n: int(k) // 1024 for n, k in (x.split() for x in out.splitlines())}
  assert list(grown) == ["bomb.png", "claim.png", "text.png", "large.png"]
  assert max(grown.values()) < 300, grown  # MB


@pytest.mark.parametrize("kind", ["jpeg", "png", "palette gif", "webp", "bmp"])
def test_random_damage_never_escapes(kind):
  chance = random.Random(0)
  good = KINDS[kind]()
  for _ in range(150):
    data = bytearray(good)
    for _ in range(chance.randint(1, 8)):
      data[chance.randrange(len(data))] = chance.randrange(256)
    try:
      assert decode(bytes(data)).shape == (16, 16, 3)
    except errors.InputError as e:
      assert str(e).startswith("it: ")
