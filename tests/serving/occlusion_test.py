"""The map shows where the picture holds what raises the score."""

import io

import numpy as np
from PIL import Image
import pytest

from dicm_jax import errors
from dicm_jax.data import images
from dicm_jax.serving import occlusion


def encoded(pixels) -> bytes:
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, format="PNG")
  return file.getvalue()


def redness(pictures):
  """A vector of one number: how much red there is."""
  found = [images.decode(p, name="p", size=16).astype(float) for p in pictures]
  return np.array([[(x[..., 0] - x[..., 1]).mean() / 255] for x in found])


def test_map_shows_the_red_corner():
  pixels = np.full((64, 48, 3), 200, np.uint8)
  pixels[40:, :16] = (255, 0, 0)  # Below, left.
  calls = []

  def embed(pictures):
    calls.append(len(pictures))
    return redness(pictures)

  found = occlusion.occlusion(
    encoded(pixels), embed, lambda vectors: 0.2 + 0.5 * vectors[:, 0]
  )
  assert calls == [1 + (occlusion.CELLS - occlusion.PATCH + 1) ** 2]
  red = np.zeros(found.shape, bool)
  red[5:, :3] = True
  assert found[red].max() == found.max() > 0.05
  assert found[red].min() > 3 * np.abs(found[:3]).max()
  assert found[:3, 5:] == pytest.approx(0, abs=1e-9)


def test_what_lowers_the_score_is_negative():
  pixels = np.full((32, 32, 3), (255, 0, 0), np.uint8)
  found = occlusion.occlusion(
    encoded(pixels), redness, lambda vectors: 0.9 - 0.5 * vectors[:, 0]
  )
  assert (found < 0).all()


def test_damaged_picture_is_refused():
  with pytest.raises(errors.InputError, match="the ad's picture"):
    occlusion.occlusion(b"none", redness, lambda vectors: vectors[:, 0])
