"""Pictures as shops keep them: rotated, transparent, CMYK, 16-bit, broken."""

import io

import numpy as np
from PIL import Image
import pytest

from dicm_jax import errors
from dicm_jax.data import images


def _encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
  out = io.BytesIO()
  image.save(out, kind, **options)
  return out.getvalue()


def _photo(width: int = 60, height: int = 40) -> Image.Image:
  y, x = np.mgrid[:height, :width]
  rgb = np.stack([4 * x, 6 * y, 2 * x + 3 * y], -1).astype(np.uint8)
  return Image.fromarray(rgb)


def _decode(data: bytes, size: int = 8) -> np.ndarray:
  return images.decode(data, name="a.jpg", size=size)


def test_whole_picture_is_squeezed_not_cropped():
  sides = Image.new("RGB", (60, 20), "white")
  sides.paste("red", (0, 0, 20, 20))
  sides.paste("blue", (40, 0, 60, 20))
  found = _decode(_encoded(sides), 30)
  assert found.shape == (30, 30, 3)
  assert found.dtype == np.uint8
  np.testing.assert_array_equal(found[15, 2], [255, 0, 0])
  np.testing.assert_array_equal(found[15, 27], [0, 0, 255])


def test_exif_rotation_is_applied():
  photo = _photo()
  exif = Image.Exif()
  exif[0x0112] = 6  # turned by 90 degrees clockwise to be shown upright
  turned = _decode(_encoded(photo, exif=exif))
  expected = _decode(_encoded(photo.transpose(Image.Transpose.ROTATE_270)))
  np.testing.assert_array_equal(turned, expected)
  assert (turned != _decode(_encoded(photo))).any()


def test_broken_exif_does_not_cost_the_picture():
  broken = _encoded(_photo(), exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
  np.testing.assert_array_equal(_decode(broken), _decode(_encoded(_photo())))


def test_transparency_lies_over_white():
  clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
  half = Image.new("LA", (8, 8), (0, 128))
  assert (_decode(_encoded(clear)) == 255).all()
  assert np.abs(_decode(_encoded(half)).astype(int) - 127).max() <= 1


def test_palette_with_and_without_transparency():
  flat = Image.new("RGB", (8, 8), (10, 200, 30)).quantize(4)
  assert flat.mode == "P"
  found = _decode(_encoded(flat))
  assert np.abs(found.astype(int) - [10, 200, 30]).max() <= 1
  index = flat.getpixel((0, 0))
  assert (_decode(_encoded(flat, transparency=index)) == 255).all()


def test_cmyk_jpeg_becomes_rgb():
  cmyk = Image.new("CMYK", (32, 32), (0, 255, 255, 0))  # red ink
  found = _decode(_encoded(cmyk, "JPEG", quality=95))
  assert np.abs(found.astype(int) - [255, 0, 0]).max() < 10


def test_16_bit_grey_is_scaled_not_clipped():
  ramp = np.linspace(0, 65535, 64).astype(np.uint16)
  grey = Image.fromarray(np.broadcast_to(ramp, (64, 64)).copy())
  assert grey.mode.startswith("I")
  found = _decode(_encoded(grey), 64)
  # Half a step from rounding, half from the ramp's own.
  np.testing.assert_allclose(found[0, :, 0], ramp / 257, atol=1)


def test_large_jpeg_read_with_less_detail_looks_the_same():
  y, x = np.mgrid[:800, :1200] / 6
  wave = 127 + 100 * np.sin(x) * np.cos(y)
  photo = Image.fromarray(np.stack([wave] * 3, -1).astype(np.uint8))
  found = _decode(_encoded(photo, "JPEG", quality=95), 190)
  expected = _decode(_encoded(photo), 190)
  assert np.abs(found.astype(int) - expected).max() <= 4


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_truncated_and_damaged_files_are_named(kind):
  data = _encoded(_photo(), kind)
  for damaged in (b"", data[:10], data[: len(data) // 2], b"GIF89a?", b"text"):
    with pytest.raises(errors.InputError, match=r"^shop/7\.jpg: "):
      images.decode(damaged, name="shop/7.jpg", size=8)


def test_bomb_is_refused_before_it_is_decoded():
  # 400 Mpx of one colour take 49 kB as a PNG and 1.2 GB as RGB.
  for side in (8_001, 10_000, 20_000):
    bomb = _encoded(Image.new("1", (side, side)))
    with pytest.raises(errors.InputError, match=r"^a\.jpg: .*64,000,000"):
      _decode(bomb)


def test_programs_hidden_in_pictures_are_no_known_format():
  with pytest.raises(errors.InputError, match="known format"):
    _decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")


def test_threads_do_not_change_the_result():
  data = [_encoded(_photo(20 + i, 30)) for i in range(9)]
  names = [str(i) for i in range(9)]
  one = images.decode_all(data, names, 8, workers=1)
  assert one.shape == (9, 8, 8, 3)
  np.testing.assert_array_equal(images.decode_all(data, names, 8), one)
  np.testing.assert_array_equal(one[3], _decode(data[3]))


def test_first_wrong_picture_of_many_is_named():
  data = [_encoded(_photo()), b"wrong", b"wrong too"]
  with pytest.raises(errors.InputError, match=r"^second:"):
    images.decode_all(data, ["first", "second", "third"], 8)
  with pytest.raises(errors.InputError, match="3 pictures and 2 names"):
    images.decode_all(data, ["first", "second"], 8)


def test_no_pictures_are_no_error():
  assert images.decode_all([], [], 8).shape == (0, 8, 8, 3)


def test_a_file_too_large_is_refused_whatever_it_shows(monkeypatch):
  data = _encoded(_photo())
  monkeypatch.setattr(images, "MAX_BYTES", len(data))
  _decode(data)
  with pytest.raises(errors.InputError, match=r"^a\.jpg: .*at most 0 MiB"):
    _decode(data + b"x")


def test_threads_together_decode_no_more_than_one_large_picture(monkeypatch):
  photo, decoding, most = _photo(), [], []
  load = images._squeezed

  def watched(image, size):
    decoding.append(image.size)
    most.append(sum(w * h for w, h in decoding))
    found = load(image, size)
    decoding.remove(image.size)
    return found

  room = 2 * photo.width * photo.height
  monkeypatch.setattr(images, "_AT_ONCE", images._Budget(room))
  monkeypatch.setattr(images, "_squeezed", watched)
  images.decode_all([_encoded(photo)] * 200, [""] * 200, 64, workers=8)
  assert max(most) <= room
