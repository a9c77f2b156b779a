"""Tables in host memory, whose rows lie in buckets, and windows of them.

A window holds some rows under numbers of their own, 0, 1, ..., laid out in
buckets as well, so that a step finds it where it would find a table.
"""

from collections.abc import Sequence
import math

from jaxtyping import Int, Shaped
import numpy as np

from dicm_jax.sharding import table

Arrays = list[Shaped[np.ndarray, "buckets slots *rest"]]


class HostTable:
  """Tables of the same rows: their values, and what else is kept of each."""

  def __init__(self, arrays: Sequence[np.ndarray]):
    """Takes arrays [buckets, slots, ...], which `write` will change."""
    self.arrays: Arrays = list(arrays)
    self._slots = arrays[0].shape[1]
    self._items = [_items(array) for array in arrays]

  def read(self, rows: Int[np.ndarray, " W"]) -> Arrays:
    """A window of each table.

    Args:
      rows: the row behind each number; where there is none, EMPTY, the window
        holds some row.
    """
    at = self._places(rows)
    return [
      np.take(items, at, mode="clip")
      .view(array.dtype)
      .reshape(*at.shape, *array.shape[2:])
      for array, items in zip(self.arrays, self._items, strict=True)
    ]

  def write(
    self, rows: Int[np.ndarray, " W"], windows: Sequence[np.ndarray]
  ) -> None:
    """Puts the rows of windows back to where `read` finds them."""
    at = self._places(rows).reshape(-1)
    there = np.flatnonzero(at != table.EMPTY)
    for items, window in zip(self._items, windows, strict=True):
      items[at[there]] = np.take(_items(window), there)

  def is_finite(self) -> bool:
    """Whether all numbers of all rows are; in pieces, to make no large copy."""
    return all(
      bool(np.isfinite(bucket).all())
      for array in self.arrays
      for bucket in array
    )

  def _places(self, rows):
    """Where each place of a window finds its row; EMPTY: nowhere."""
    places = table.place_in_flat(rows, self._slots)
    # Zeros are what padding is filled with, so count from 1.
    found = np.where(rows == table.EMPTY, 0, places + 1)
    return table.to_buckets(found) - 1


def _items(array: Shaped[np.ndarray, "buckets slots *rest"]) -> np.ndarray:
  """The rows of an array as items of one piece, which move twice as fast."""
  size = array.itemsize * math.prod(array.shape[2:])
  assert array.flags.c_contiguous, "another view of it would be a copy"
  return array.reshape(-1).view(np.dtype((np.void, size)))


def numbers_in(
  window: Int[np.ndarray, " V"], rows: Int[np.ndarray, " W"]
) -> Int[np.ndarray, "buckets slots"]:
  """Number that each place of a window has in another; EMPTY: none.

  Args:
    window: the other one: the row behind each of its numbers.
    rows: of the window that is laid out.
  """
  order = np.argsort(window)
  at = np.searchsorted(window, rows, sorter=order)
  number = order[np.minimum(at, len(window) - 1)]
  same = (window[number] == rows) & (rows != table.EMPTY)
  found = np.where(same, number + 1, 0).astype(np.int32)
  return table.to_buckets(found) - 1
