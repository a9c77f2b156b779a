"""Numbers that a batch's distinct ID rows have while they are on the devices.

Whoever owns rows by their remainder modulo the number of devices owns the same
ones under their new numbers, and finds them in the same order: a row's number
is the count of smaller rows of its remainder, times the devices, plus the
remainder.
"""

from typing import NamedTuple

from jaxtyping import Int
import numpy as np

from dicm_jax.data.device_slice import EMPTY


class Window(NamedTuple):
  """The rows of a batch, over all devices."""

  rows: Int[np.ndarray, " n"]
  """Distinct rows, ascending."""
  numbers: Int[np.ndarray, " n"]
  """Of each of them."""
  by_number: Int[np.ndarray, " W"]
  """The row behind each number; EMPTY: none."""

  def number_of(self, rows: Int[np.ndarray, " k"]) -> Int[np.ndarray, " k"]:
    """Numbers of some of the rows."""
    return self.numbers[np.searchsorted(self.rows, rows)]


def of(asked: list[Int[np.ndarray, " _"]]) -> Window:
  """Numbers the rows that devices ask for.

  Args:
    asked: distinct rows of each device, all devices'.

  >>> of([np.array([3, 8, 10]), np.array([2, 8])])
  Window(rows=array([ 2,  3,  8, 10]), numbers=array([0, 1, 2, 4]), \
by_number=array([ 2,  3,  8, -1, 10, -1]))
  """
  devices = len(asked)
  rows = np.unique(np.concatenate(asked))
  remainder = rows % devices
  counts = np.bincount(remainder, minlength=devices)
  order = np.argsort(remainder, kind="stable")
  rank = np.empty_like(rows)
  rank[order] = np.arange(len(rows)) - np.repeat(
    np.cumsum(counts) - counts, counts
  )
  numbers = devices * rank + remainder
  by_number = np.full(devices * counts.max(), EMPTY, rows.dtype)
  by_number[numbers] = rows
  return Window(rows, numbers, by_number)
