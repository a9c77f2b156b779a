"""Where the XDL example's image records begin: nothing in a file says it.

Image id i lies in file i % K, so at the right width nearly every record begins
with such an id, no two alike, and at a wrong one hardly any does.
"""

from collections.abc import Sequence
import pathlib

import numpy as np

from dicm_jax import errors

WIDTH = 4096
"""Numbers of a record in the example: VGG16's fc6."""
LARGEST_WIDTH = 1 << 16
_LARGEST_ID = 1 << 40
"""Where the width is unknown. Two float32 seldom look like a smaller number."""
_FILES, _RECORDS = 16, 64
"""Looked at, at most."""
_HEAD = 16 << 20
"""32-bit words of a file looked at, at most."""
_FEW = 8
"""Records that are too few to tell a width from its half."""


def record_type(width: int) -> np.dtype:
  return np.dtype([("id", "<i8"), ("features", "<f4", (width,))])


def records(file: pathlib.Path, width: int) -> np.ndarray:
  """A file's whole records, from disk when looked at."""
  kind = record_type(width)
  count = file.stat().st_size // kind.itemsize
  if not count:
    return np.zeros(0, kind)
  return np.memmap(file, kind, "r", shape=(count,))


def is_id(id_: int, number: int, num_files: int) -> bool:
  """Whether an image id may lie in file `number`."""
  return id_ >= 0 and id_ % num_files == number


def width(files: Sequence[pathlib.Path], given: int = 0) -> int:
  """The width at which most records begin with ids.

  Args:
    files: data.0, data.1, ...
    given: what the user says; 0: nothing.

  Raises:
    InputError: there is none, or it is not the given one; or the records are
      too few to tell and none is given.
  """
  shares = {w: _share(files, w, _LARGEST_ID) for w in _candidates(files)}
  best = max(shares.values(), default=0.0)
  found = [w for w in shares if shares[w] == best]
  clear = best > 0.5 and (len(found) == 1 or _count(files, found[0]) >= _FEW)
  if given:
    # In a single file any number >= 0 could be an id.
    limit = _LARGEST_ID if len(files) == 1 else 1 << 63
    _check(files, given, found[0] if clear else None, limit)
    return given
  if not clear:
    raise errors.InputError(
      f"{files[0].parent}: expected records of an int64 id and float32 "
      f"numbers, image id i in file i % {len(files)}; found no single width "
      "that fits most of them. Give it by --vectors_width"
    )
  return found[0]


def _check(files, given: int, found: int | None, limit: int) -> None:
  if found == given:
    return
  if found is None and _share(files, given, limit) > 0.5:
    return
  raise errors.InputError(
    f"{files[0].parent}: expected records of {record_type(given).itemsize} "
    f"bytes, an id and {given} numbers; most do not begin with an id of their "
    f"file: is the width another?{f' {found} numbers fit' if found else ''}"
  )


def _share(files: Sequence[pathlib.Path], width: int, limit: int) -> float:
  """Share of the records looked at that begin with an id of their file.

  Bytes that make no whole record count as a wrong one.
  """
  right = total = 0
  for number, file in _some(files):
    found = records(file, width)
    ids = found["id"][:_RECORDS].tolist()
    rest = file.stat().st_size > len(found) * record_type(width).itemsize
    total += len(ids) + (rest and len(ids) < _RECORDS)
    good = {i for i in ids if i < limit and is_id(i, number, len(files))}
    right += len(good)
  return right / total if total else 1.0


def _count(files: Sequence[pathlib.Path], width: int) -> int:
  return sum(len(records(file, width)[:_RECORDS]) for _, file in _some(files))


def _some(files: Sequence[pathlib.Path]) -> list[tuple[int, pathlib.Path]]:
  """Number and path of some files that hold bytes, all over the list."""
  full = [(i, file) for i, file in enumerate(files) if file.stat().st_size]
  return full[:: max(len(full) // _FILES, 1)]


def _candidates(files: Sequence[pathlib.Path]) -> list[int]:
  """Rising widths: the example's, the first file's whole length, and those at
  which more than half of its first records begin with ids."""
  found = {WIDTH}
  for number, file in _some(files)[:1]:
    size = file.stat().st_size
    head = np.memmap(file, "<u4", "r", shape=(size // 4,))[:_HEAD]
    words = head.astype(np.int64)
    places = np.arange(3, min(LARGEST_WIDTH + 2, len(words) - 1))
    right, total = np.zeros((2, len(places)), int)
    for k in range(1, _FEW + 1):
      at = k * places
      there = at < len(words) - 1
      at = np.where(there, at, 0)
      ids = words[at] | words[at + 1] << 32
      fits = (ids >= 0) & (ids < _LARGEST_ID) & (ids % len(files) == number)
      right += there & fits
      total += there
    found |= set((places[2 * right > total] - 2).tolist())
    found.add(max((size - 8) // 4, 1))
  return sorted(found)
