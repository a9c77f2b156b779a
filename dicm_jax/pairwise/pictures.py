"""Decoded pictures, kept in memory as far as they fit."""

from jaxtyping import Int, UInt8
import numpy as np

from dicm_jax.data import click_log
from dicm_jax.data import images as images_lib

MAX_BYTES = 1 << 30
"""Memory for decoded pictures: 87 thousand of 64 x 64 pixels."""


class Decoded:
  """Pictures of image rows, of which the first ones asked for are kept.

  Batches ask for pictures at random, so that no other choice of what to keep
  would spare more decoding. Threads may share it: two that miss the same
  picture decode it twice, and keep one.

  Args:
    data: the data set.
    size: side of the square pictures in pixels.
    max_bytes: memory for what is kept.
  """

  def __init__(
    self, data: click_log.Dataset, size: int, max_bytes: int = MAX_BYTES
  ):
    self._data = data
    self._size = size
    self._room = max_bytes // (3 * size * size)
    self._kept: dict[int, np.ndarray] = {}

  def __call__(
    self, rows: Int[np.ndarray, " K"]
  ) -> UInt8[np.ndarray, "K size size 3"]:
    """Pictures of image rows, each distinct one decoded once at most.

    Raises:
      InputError: a picture is damaged.
    """
    distinct, index = np.unique(rows, return_inverse=True)
    found = {row: self._kept.get(row) for row in distinct.tolist()}
    found |= self._decoded(
      [row for row, square in found.items() if square is None]
    )
    return np.stack([*found.values()])[index]

  def _decoded(self, rows: list[int]) -> dict[int, np.ndarray]:
    squares = images_lib.decode_rows(
      self._data.image_bytes, self._data.image_names, rows, self._size
    )
    made = dict(zip(rows, squares, strict=True))
    for row, square in made.items():
      if len(self._kept) < self._room:
        self._kept[row] = square.copy()  # Its block goes.
    return made
