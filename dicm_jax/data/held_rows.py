"""Rows of content in host memory or in a file, as they are stored."""

from collections.abc import Iterable
import pathlib
from typing import NamedTuple

from jaxtyping import Float, Int, Shaped
import numpy as np

from dicm_jax import errors
from dicm_jax.data import files, quantise


class HeldRows(NamedTuple):
  """R rows of which some are wanted at a time."""

  values: Shaped[np.ndarray, " R *content"]
  """In memory, or mapped from a file: then a row is read when it is wanted."""
  scale: Float[np.ndarray, " R"] | None = None
  """Of each row, where features are stored as int8."""
  taken_as: np.dtype | None = None
  """What numbers become as they are taken; None: float32 where they are
  features, else what they are."""

  @property
  def row_shape(self) -> tuple[int, ...]:
    return self.values.shape[1:]

  @property
  def dtype(self) -> np.dtype:
    """Of rows as they are taken."""
    if self.taken_as is not None:
      return self.taken_as
    packed = self.scale is not None or self.values.dtype == np.float16
    return np.dtype(np.float32) if packed else self.values.dtype

  @property
  def about(self) -> str:
    """Shape, storage and size, for people."""
    values = self.values
    where = ", mapped from a file" if isinstance(values, np.memmap) else ""
    size = f"{values.nbytes / 1e6:.1f} MB"
    return f"{values.shape} {values.dtype}, {size}{where}"

  def everything(self) -> Shaped[np.ndarray, " R *content"]:
    """All rows, as `take` gives them."""
    return self._unpacked(self.values, self.scale)

  def take(self, rows: Int[np.ndarray, " n"]) -> Shaped[np.ndarray, " n *c"]:
    """The rows asked for, of `dtype` whatever their storage."""
    scale = None if self.scale is None else self.scale[rows]
    return self._unpacked(self.values[rows], scale)

  def _unpacked(self, found: np.ndarray, scale) -> np.ndarray:
    if found.dtype == self.dtype:
      return found
    if found.dtype != np.float32:
      found = quantise.unpack(quantise.Packed(found, scale))
    return found.astype(self.dtype, copy=False)


def write(
  path: pathlib.Path,
  blocks: Iterable[np.ndarray],
  shape: tuple[int, ...],
  dtype: np.dtype,
) -> None:
  """Writes an .npy file block by block, all of it or nothing.

  Args:
    path: of the file.
    blocks: its rows, end to end.
    shape: of all of it.
    dtype: of its numbers.
  """
  with files.whole(path) as part:
    out = np.lib.format.open_memmap(part, mode="w+", dtype=dtype, shape=shape)
    first = 0
    for block in blocks:
      out[first : first + len(block)] = block
      first += len(block)
    if first != shape[0]:
      raise ValueError(f"expected {shape[0]} rows, found {first}")
    out.flush()


def mapped(
  path: pathlib.Path, shape: tuple[int, ...], dtype: np.dtype
) -> Shaped[np.ndarray, " R *content"]:
  """The rows of a file of `write`, read when they are wanted.

  Raises:
    InputError: it is damaged, or of another shape or type.
  """
  try:
    found = np.load(path, mmap_mode="r", allow_pickle=False)
  # A header is a Python literal, and a broken one breaks in many ways.
  except Exception as e:
    raise errors.InputError(f"{path}: cannot be read: {e}") from e
  if not isinstance(found, np.ndarray) or (found.shape, found.dtype) != (
    shape,
    dtype,
  ):
    raise errors.InputError(
      f"{path}: expected {dtype} {list(shape)}, found another array; remove it"
    )
  return found
