"""Image records of the XDL CrossMedia example.

A folder of files data.0 .. data.(K-1); image id i lies in file i % K. A record
is the id as int64 and `width` float32, little-endian, without any header.
"""

from collections.abc import Collection, Iterator
import pathlib
import re

from jaxtyping import Float, Int
import numpy as np

from dicm_jax import errors
from dicm_jax.data import source
from dicm_jax.data.readers import framing

BLOCK = 4096


class Records:
  """Image records on disk, as `source.Vectors`.

  Args:
    folder: of the files.
    width: numbers of a record; 0: as the ids' places say.
    bad: is told of wrong records; those are left out if it says skip.

  Raises:
    InputError: a file is missing; records have another width; or a record is
      wrong and `bad` says stop.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    width: int = 0,
    bad: source.Bad | None = None,
  ):
    self._bad = bad or source.Bad()
    self._files = _files(folder)
    self.width = framing.width(self._files, width)
    self._good = self._check()

  def keys(self) -> Iterator[str]:
    for file, rows in zip(self._files, self._good, strict=True):
      ids = framing.records(file, self.width)["id"]
      yield from map(str, ids[rows].tolist())

  def read(
    self, wanted: Collection[str]
  ) -> Iterator[tuple[list[str], Float[np.ndarray, "n width"]]]:
    keys: list[str] = []
    parts: list[np.ndarray] = []
    for file, rows in zip(self._files, self._good, strict=True):
      records = framing.records(file, self.width)
      chosen = [r for r in rows.tolist() if str(records["id"][r]) in wanted]
      keys += map(str, records["id"][chosen].tolist())
      parts.append(np.array(records["features"][chosen], np.float32))
      while len(keys) >= BLOCK:
        joined = np.concatenate(parts)
        yield keys[:BLOCK], joined[:BLOCK]
        keys, parts = keys[BLOCK:], [joined[BLOCK:]]
    if keys:
      yield keys, np.concatenate(parts)

  def _check(self) -> list[Int[np.ndarray, " n"]]:
    """Rows of each file that are as they should be."""
    seen: dict[int, str] = {}
    return [
      self._check_file(number, file, seen)
      for number, file in enumerate(self._files)
    ]

  def _check_file(self, number: int, file: pathlib.Path, seen: dict[int, str]):
    size = framing.record_type(self.width).itemsize
    records = framing.records(file, self.width)
    short = file.stat().st_size - len(records) * size
    good = []
    for row, id_ in enumerate(records["id"].tolist()):
      where = f"offset {row * size}"
      if not framing.is_id(id_, number, len(self._files)):
        owner = f"in data.{id_ % len(self._files)} ({len(self._files)} files)"
        what = f"image id {id_}: expected {owner if id_ >= 0 else 'an id >= 0'}"
        if short:  # Bytes are missing somewhere before: nothing here is sure.
          what = f"expected records of {size} bytes up to here; {what}"
          self._bad.report(file, where, what)
          return np.array(good, np.int64)
      elif id_ in seen:
        what = f"image id {id_}: occurs twice, first at {seen[id_]}"
      elif not np.isfinite(records["features"][row]).all():
        what = f"image id {id_}: expected finite numbers"
      else:
        seen[id_] = f"{file.name}, {where}"
        good.append(row)
        continue
      self._bad.report(file, where, what)
    if short:
      self._bad.report(
        file,
        f"offset {len(records) * size}",
        f"expected a record of {size} bytes (id and {self.width} numbers), "
        f"found {short} bytes",
      )
    return np.array(good, np.int64)


def _files(folder: pathlib.Path) -> list[pathlib.Path]:
  """data.0 .. data.(K-1), none missing."""
  names = {p.name for p in folder.iterdir()} if folder.is_dir() else set()
  pattern = r"data\.(0|[1-9][0-9]*)"
  numbers = {int(n[5:]) for n in names if re.fullmatch(pattern, n)}
  if not numbers:
    raise errors.InputError(
      f"{folder}: expected image records data.0, data.1, ...; found none"
    )
  for number in range(max(numbers) + 1):
    if number not in numbers:
      raise errors.InputError(
        f"{folder}: expected files data.0 to data.{max(numbers)}; data."
        f"{number} is missing"
      )
  found = [folder / f"data.{number}" for number in range(len(numbers))]
  for file in found:
    if not file.is_file():
      raise errors.InputError(f"{file}: expected a file")
  return found


def write(
  folder: pathlib.Path,
  ids: Int[np.ndarray, " n"],
  vectors: Float[np.ndarray, "n F"],
  num_files: int,
) -> None:
  """Writes records to `num_files` files; `Records` reads them back."""
  folder.mkdir(parents=True, exist_ok=True)
  records = np.zeros(len(ids), framing.record_type(vectors.shape[1]))
  records["id"], records["features"] = ids, vectors
  for number in range(num_files):
    records[ids % num_files == number].tofile(folder / f"data.{number}")
