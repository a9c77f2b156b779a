"""Attributes of pictures whose looks are known."""

import io

import numpy as np
from PIL import Image
import pytest

from dicm_jax import errors
from dicm_jax.data.simulator import appearance

WHITE, RED, BLUE = (1.0, 1.0, 1.0), (0.8, 0.1, 0.1), (0.1, 0.1, 0.8)


def picture(colour, *, height=40, width=40, background=WHITE):
  """A rectangle in the middle of a plain 100 x 100 background."""
  pixels = np.empty((100, 100, 3))
  pixels[:] = background
  top, left = (100 - height) // 2, (100 - width) // 2
  pixels[top : top + height, left : left + width] = colour
  return pixels


def attribute(name, pixels):
  return appearance.measure(pixels)[appearance.ATTRIBUTES.index(name)]


@pytest.mark.parametrize(
  ("name", "more", "less"),
  [
    ("warmth", picture(RED), picture(BLUE)),
    ("greenness", picture((0.1, 0.6, 0.1)), picture((0.7, 0.7, 0.7))),
    ("brightness", picture((0.8, 0.8, 0.8)), picture((0.2, 0.2, 0.2))),
    ("saturation", picture(RED), picture((0.4, 0.4, 0.4))),
    ("elongation", picture(RED, height=80, width=20), picture(RED)),
    ("elongation", picture(RED), picture(RED, height=20, width=80)),
  ],
)
def test_attribute_orders_plain_shapes(name, more, less):
  assert attribute(name, more) > attribute(name, less) + 0.1


def test_stripes_have_more_pattern_than_plain_cloth():
  plain = picture((0.4, 0.4, 0.4), height=60, width=60)
  striped = plain.copy()
  striped[22:78:8, 20:80] = (0.9, 0.9, 0.9)
  striped[23:79:8, 20:80] = (0.9, 0.9, 0.9)
  assert attribute("pattern", striped) > 1.5 * attribute("pattern", plain)


def test_background_colour_hardly_counts():
  on_white = attribute("warmth", picture(RED))
  on_blue = attribute("warmth", picture(RED, background=BLUE))
  # The garment's warmth is 0.7, the blue background's -0.7; without the
  # separation the mean over the picture would be negative.
  assert on_white > 0.6
  assert on_blue > 0.6


def test_weights_sum_to_one_even_without_any_garment():
  weight = appearance.garment_weight(picture(WHITE))
  np.testing.assert_allclose(weight.sum(), 1.0, rtol=1e-12)
  assert np.isfinite(appearance.measure(picture(WHITE))).all()


def encoded(pixels):
  buffer = io.BytesIO()
  image = Image.fromarray((pixels * 255).astype(np.uint8))
  image.save(buffer, "PNG")
  return buffer.getvalue()


def test_measure_all_standardises_each_attribute():
  rng = np.random.default_rng(0)
  pictures = [
    encoded(picture(rng.random(3), height=h, width=w))
    for h, w in rng.integers(20, 80, (12, 2))
  ]
  table = appearance.measure_all(pictures, [""] * len(pictures))
  assert table.shape == (12, len(appearance.ATTRIBUTES))
  np.testing.assert_allclose(table.mean(0), 0.0, atol=1e-9)
  np.testing.assert_allclose(table.std(0), 1.0, rtol=1e-9)


def test_an_attribute_equal_in_all_pictures_is_zero():
  table = appearance.measure_all([encoded(picture(RED))] * 3, [""] * 3)
  np.testing.assert_allclose(table, 0.0, atol=1e-12)


@pytest.mark.parametrize(
  "wrong", [b"", b"no picture", encoded(picture(RED))[:99]]
)
def test_picture_that_cannot_be_decoded_is_named(wrong):
  pictures = [encoded(picture(RED)), wrong]
  with pytest.raises(
    errors.InputError, match=rf"^b\.jpg: .* \({len(wrong)} by"
  ):
    appearance.measure_all(pictures, ["a.jpg", "b.jpg"])
