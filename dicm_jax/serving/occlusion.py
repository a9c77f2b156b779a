"""Which part of an ad's picture drives its score: a map of covered patches.

Zeiler and Fergus 2013, https://arxiv.org/abs/1311.2901, section 4.2: a grey
square slides over the picture, and the score is taken for each of its places.
"""

from collections.abc import Callable, Iterator, Sequence
import io

from jaxtyping import Float, UInt8
import numpy as np
from PIL import Image

from dicm_jax.data import images
from dicm_jax.serving import explain

CELLS = 8
"""Rows and columns of the map."""
PATCH = 2
"""Cells that the square is wide; it moves by one."""
GREY = 128
SIDE = 28 * CELLS
"""Pixels of the picture while it is covered."""


Embed = Callable[[Sequence[bytes]], Float[np.ndarray, "n E"]]
"""Vectors of encoded pictures, at least one, as the bundle's tables would hold
them; raises InputError where one cannot be decoded."""


def places() -> Iterator[tuple[slice, slice]]:
  """Rows and columns of cells that the square covers, place by place."""
  for top in range(CELLS - PATCH + 1):
    for left in range(CELLS - PATCH + 1):
      yield slice(top, top + PATCH), slice(left, left + PATCH)


def occlusion(
  picture: bytes,
  embed: Embed,
  score: Callable[[Float[np.ndarray, "n E"]], Float[np.ndarray, " n"]],
) -> Float[np.ndarray, "cells cells"]:
  """How much each cell of a picture raises the score.

  Args:
    picture: encoded.
    embed: asked once, for all places of the square.
    score: probability by the picture's vector.

  Returns:
    Of each cell, by how much the logit falls when it is covered, as the mean
    of the places that cover it; above 0 where the cell speaks for the ad.

  Raises:
    InputError: the picture cannot be decoded.
  """
  pixels = images.decode(picture, name="the ad's picture", size=SIDE)
  covered = [_encoded(_covered(pixels, *place)) for place in places()]
  vectors = embed([_encoded(pixels), *covered])
  whole, *without = explain.logits(score(vectors)).tolist()
  fall, times = np.zeros((CELLS, CELLS)), np.zeros((CELLS, CELLS))
  for place, found in zip(places(), without, strict=True):
    fall[place] += whole - found
    times[place] += 1
  return fall / times


def _covered(pixels: UInt8[np.ndarray, "S S 3"], rows: slice, columns: slice):
  side = SIDE // CELLS
  out = pixels.copy()
  out[
    rows.start * side : rows.stop * side,
    columns.start * side : columns.stop * side,
  ] = GREY
  return out


def _encoded(pixels: UInt8[np.ndarray, "S S 3"]) -> bytes:
  file = io.BytesIO()
  # Without loss and fast: it is read at once and thrown away.
  Image.fromarray(pixels).save(file, format="PNG", compress_level=1)
  return file.getvalue()
