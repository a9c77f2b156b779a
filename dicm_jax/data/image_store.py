"""The pictures of a prepared data set: Parquet files in order of their rows.

A file is named by its first row. Row NO_IMAGE is a grey pixel that stands for
"no picture".
"""

import bisect
from collections.abc import Callable, Collection, Iterator, Sequence
import concurrent.futures
import hashlib
import itertools
import json
import pathlib
import re
import struct
from typing import overload

from jaxtyping import UInt8
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dicm_jax import errors
from dicm_jax.data import files, images, source

FOLDER = "images"
"""Of a prepared data set."""
NO_IMAGE = 0
PART_PICTURES = 256
"""Pictures of a file, at most."""
PART_BYTES = 64 << 20
"""Size at which a file is closed."""

# A bitmap of one pixel: file header, info header, and mid-grey padded to 4.
NONE = (
  struct.pack("<2sIHHI", b"BM", 58, 0, 0, 54)
  + struct.pack("<IiiHHIIiiII", 40, 1, 1, 1, 24, 0, 4, 2835, 2835, 0, 0)
  + bytes([128, 128, 128, 0])
)

_SCHEMA = pa.schema(
  [
    pa.field("row", pa.int64()),
    pa.field("key", pa.string()),
    pa.field("sha256", pa.binary(32)),
    pa.field("bytes", pa.large_binary()),
  ]
)
_BAD, _LAST = b"bad", b"last"
"""Notes on the pictures left out, and the key of the last one looked at."""
_BLOCK_PICTURES, _BLOCK_BYTES = 64, 32 << 20
"""Pictures that are checked at a time, at most."""


def write(
  folder: pathlib.Path,
  pictures: source.Pictures,
  wanted: Collection[str],
  bad: source.Bad,
  on_progress: Callable[[int, int], None] | None = None,
) -> list[str]:
  """Stores the wanted pictures, in the order of their source, from row 1.

  A folder left half-way by a kill is gone on with.

  Args:
    folder: of the store; made if missing.
    pictures: where they come from.
    wanted: keys that the log names.
    bad: is told of pictures that are missing or cannot be decoded.
    on_progress: called with (pictures looked at, pictures wanted), first with
      those of an earlier run.

  Returns:
    The keys of rows 1, 2, ...

  Raises:
    InputError: a picture is missing or cannot be decoded, and `bad` says stop.
  """
  folder.mkdir(parents=True, exist_ok=True)
  wanted = frozenset(wanted)
  _report_missing(wanted, pictures, bad)
  keys, noted, last = _found(_parts(folder))
  for line in noted:
    bad.report(line["file"], line["line"], line["what"])
  left = _after(pictures.keys(), last, wanted)
  part = _Part(folder, len(keys))
  if not keys:
    part.entries.append(("", NONE))
  tell = on_progress or (lambda done, total: None)
  done = len(wanted) - len(left)
  tell(done, len(wanted))
  for key, data, what in _checked(pictures, left):
    part.last = key
    if what:
      bad.report(key, "picture", what)
      part.notes.append({"file": key, "line": "picture", "what": what})
    else:
      part.entries.append((key, data))
    if part.full:
      keys += part.write()
      part = part.next
    done += 1
    tell(done, len(wanted))
  # Notes alone make no part: looking at those pictures again does no harm.
  return (keys + part.write() if part.entries else keys)[1:]


def _parts(folder: pathlib.Path) -> list[pathlib.Path]:
  return sorted(folder.glob("part-*.parquet"))


def _found(parts: Sequence[pathlib.Path]) -> tuple[list[str], list[dict], str]:
  """Keys of the rows stored so far, notes, and the last picture looked at."""
  keys: list[str] = []
  noted: list[dict] = []
  last = ""
  for path in parts:
    file = pq.ParquetFile(path)
    keys += file.read(columns=["key"])["key"].to_pylist()
    said = file.schema_arrow.metadata
    noted += json.loads(said[_BAD])
    last = said[_LAST].decode()
  return keys, noted, last


def _after(
  keys: Iterator[str], last: str, wanted: frozenset[str]
) -> frozenset[str]:
  """Wanted keys that come after one in their source; "": all."""
  if last:
    keys = itertools.dropwhile(lambda key: key != last, keys)
    next(keys, None)
  return frozenset(key for key in keys if key in wanted)


def _checked(
  pictures: source.Pictures, wanted: frozenset[str]
) -> Iterator[tuple[str, bytes, str]]:
  """Pictures in order, each with what is wrong with it ("" if nothing)."""

  def check(entry: tuple[str, bytes]) -> tuple[str, bytes, str]:
    key, data = entry
    try:
      # JPEG decodes to a small size in a fraction of the time.
      images.decode(data, name=key, size=8)
    except errors.InputError as e:
      return key, b"", str(e).removeprefix(f"{key}: ")
    return key, data, ""

  def blocks() -> Iterator[list[tuple[str, bytes]]]:
    block, size = [], 0
    for entry in pictures.read(wanted):
      block.append(entry)
      size += len(entry[1])
      if len(block) == _BLOCK_PICTURES or size >= _BLOCK_BYTES:
        yield block
        block, size = [], 0
    yield block

  with concurrent.futures.ThreadPoolExecutor(images.processors()) as pool:
    for block in blocks():
      yield from pool.map(check, block)


class _Part:
  """A file of the store while it fills."""

  def __init__(self, folder: pathlib.Path, first_row: int):
    self._folder, self._first = folder, first_row
    self.entries: list[tuple[str, bytes]] = []
    self.notes: list[dict] = []
    self.last = ""
    """Key of the last picture looked at, stored or not."""

  @property
  def full(self) -> bool:
    return (
      len(self.entries) >= PART_PICTURES
      or sum(len(data) for _, data in self.entries) >= PART_BYTES
    )

  @property
  def next(self) -> "_Part":
    return _Part(self._folder, self._first + len(self.entries))

  def write(self) -> list[str]:
    """Writes the file; returns its keys."""
    keys = [key for key, _ in self.entries]
    schema = _SCHEMA.with_metadata(
      {_BAD: json.dumps(self.notes), _LAST: self.last}
    )
    digests = [hashlib.sha256(data).digest() for _, data in self.entries]
    table = pa.table(
      {
        "row": list(range(self._first, self._first + len(keys))),
        "key": keys,
        "sha256": digests,
        "bytes": [data for _, data in self.entries],
      },
      schema,
    )
    path = self._folder / f"part-{self._first:010d}.parquet"
    files.write_parquet(path, table, compression="none", use_dictionary=False)
    return keys


def _report_missing(wanted, pictures: source.Pictures, bad: source.Bad):
  there = pictures.keys()
  missing = wanted - frozenset(there)
  if missing and bad.policy == "stop":
    some = ", ".join(repr(key) for key in sorted(missing)[:5])
    raise errors.InputError(
      f"{len(missing)} of the {len(wanted)} pictures that the log names are "
      f"missing from the images: {some}{', ...' if len(missing) > 5 else ''} "
      "(--on_bad=skip treats their samples as having no picture)"
    )
  for key in sorted(missing):
    bad.report(key, "picture", "named by the log, missing from the images")


class ImageStore(Sequence[bytes]):
  """Encoded pictures by row, read from their files when asked for.

  Args:
    folder: of the store.
    first: row that counts as the first.
    end: row to stop before; None: all.
  """

  def __init__(
    self, folder: pathlib.Path, first: int = 0, end: int | None = None
  ):
    self._paths = _parts(folder)
    self._firsts = [_first_row(path) for path in self._paths]
    self._first = first
    self._length = (count(folder) if end is None else end) - first
    self._open = -1
    self._pictures: list[bytes] = []

  def __len__(self) -> int:
    return self._length

  @overload
  def __getitem__(self, index: int) -> bytes: ...
  @overload
  def __getitem__(self, index: slice) -> list[bytes]: ...
  def __getitem__(self, index):
    if isinstance(index, slice):
      return [self[i] for i in range(*index.indices(len(self)))]
    if not 0 <= index < len(self):
      raise IndexError(index)
    index += self._first
    part = bisect.bisect_right(self._firsts, index) - 1
    if part != self._open:  # Rows are asked for in order: one file at hand.
      path = self._paths[part]
      found = files.read_column(path, "bytes").to_pylist()
      if len(found) != self._rows_of(part) or not _are_bytes(found):
        raise errors.InputError(
          f"{path}: column 'bytes': expected {self._rows_of(part)} pictures"
        )
      self._pictures, self._open = found, part
    return self._pictures[index - self._firsts[part]]

  def _rows_of(self, part: int) -> int:
    """Rows of a file: the next one's name says where they end."""
    if part + 1 < len(self._firsts):
      return self._firsts[part + 1] - self._firsts[part]
    return files.num_rows(self._paths[part])


def _are_bytes(found: list) -> bool:
  return all(isinstance(picture, bytes) for picture in found)


def _first_row(path: pathlib.Path) -> int:
  number = path.stem.removeprefix("part-")
  if not re.fullmatch("[0-9]{1,18}", number):
    raise errors.InputError(
      f"{path}: expected a name part-N.parquet, N the file's first row"
    )
  return int(number)


def count(folder: pathlib.Path) -> int:
  """Number of rows, row 0 included; only one file is opened."""
  paths = _parts(folder)
  if not paths:
    return 0
  return _first_row(paths[-1]) + files.num_rows(paths[-1])


def names(folder: pathlib.Path, rows: slice = slice(None)) -> list[str]:
  """Keys of some rows; "" for row 0. Only their files are opened.

  Raises:
    InputError: a file is damaged, or rows are missing.
  """
  start, stop, _ = rows.indices(count(folder))
  paths = _parts(folder)
  firsts = [_first_row(path) for path in paths]
  low = max(bisect.bisect_right(firsts, start) - 1, 0)
  chosen = paths[low : bisect.bisect_left(firsts, stop)]
  keys = [key for path in chosen for key in files.read_texts(path, "key")]
  shift = firsts[low] if firsts else 0
  found = keys[start - shift : stop - shift]
  if len(found) != max(stop - start, 0):
    raise errors.InputError(
      f"{folder}: expected pictures {start} to {stop - 1}, found {len(found)}"
    )
  return found


def sources(
  folder: pathlib.Path,
) -> tuple[list[str], UInt8[np.ndarray, "I 32"]]:
  """Key of each row, and SHA-256 of its encoded picture; no picture is read.

  Raises:
    InputError: a file is damaged.
  """
  keys: list[str] = []
  digests = [np.zeros((0, 32), np.uint8)]
  for path in _parts(folder):
    with files.reading(path), pq.ParquetFile(path) as file:
      table = file.read(["key", "sha256"])
      keys += table["key"].to_pylist()
    digests.append(files.digests_of(path, "sha256", table["sha256"]))
  if None in keys:
    raise errors.InputError(f"{folder}: column 'key': expected none missing")
  return keys, np.concatenate(digests)
