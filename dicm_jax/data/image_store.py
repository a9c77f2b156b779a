"""The pictures of a prepared data set: Parquet files in order of their rows.

Row NO_IMAGE is a grey pixel that stands for "no picture".
"""

import bisect
from collections.abc import Callable, Collection, Iterator, Sequence
import concurrent.futures
import hashlib
import json
import pathlib
import struct
from typing import overload

import pyarrow as pa
import pyarrow.parquet as pq

from dicm_jax import errors
from dicm_jax.data import files, images, source

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
_BAD = b"bad"


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
    on_progress: called with (pictures done, pictures wanted).

  Returns:
    The keys of rows 1, 2, ...

  Raises:
    InputError: a picture is missing or cannot be decoded, and `bad` says stop.
  """
  folder.mkdir(parents=True, exist_ok=True)
  wanted = frozenset(wanted)
  _report_missing(wanted, pictures, bad)
  parts = sorted(folder.glob("part-*.parquet"))
  keys, noted = _found(parts)
  for line in noted:
    bad.report(line["file"], line["line"], line["what"])
  left = _after(pictures.keys(), keys[-1] if parts and keys else None, wanted)
  waiting: list[tuple[str, bytes]] = [] if parts else [("", NONE)]
  notes: list[dict] = []
  number = len(parts)
  for key, data, what in _checked(pictures, left):
    if what:
      bad.report(key, "picture", what)
      notes.append({"file": key, "line": "picture", "what": what})
      continue
    waiting.append((key, data))
    if _full(waiting):
      keys += _write_part(folder, number, len(keys), waiting, notes)
      number, waiting, notes = number + 1, [], []
      if on_progress:
        on_progress(len(keys) - 1, len(wanted))
  if waiting or notes:
    keys += _write_part(folder, number, len(keys), waiting, notes)
  return keys[1:]


def _full(waiting: list[tuple[str, bytes]]) -> bool:
  return (
    len(waiting) >= PART_PICTURES
    or sum(len(data) for _, data in waiting) >= PART_BYTES
  )


def _found(parts: Sequence[pathlib.Path]):
  """Keys of the rows stored so far, and what was noted on the way."""
  keys: list[str] = []
  noted: list[dict] = []
  for path in parts:
    file = pq.ParquetFile(path)
    keys += file.read(columns=["key"])["key"].to_pylist()
    noted += json.loads((file.schema_arrow.metadata or {}).get(_BAD, b"[]"))
  return keys, noted


def _after(
  keys: Iterator[str], last: str | None, wanted: frozenset[str]
) -> frozenset[str]:
  """Wanted keys that come after the last stored one in their source."""
  passed = not last
  left = set()
  for key in keys:
    if passed and key in wanted:
      left.add(key)
    passed = passed or key == last
  return frozenset(left)


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
    block: list[tuple[str, bytes]] = []
    for entry in pictures.read(wanted):
      block.append(entry)
      if len(block) == 16:
        yield block
        block = []
    yield block

  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    for block in blocks():
      yield from pool.map(check, block)


def _write_part(folder, number: int, first_row: int, entries, notes):
  """Writes one file of the store; returns its keys."""
  keys = [key for key, _ in entries]
  table = pa.table(
    {
      "row": list(range(first_row, first_row + len(entries))),
      "key": keys,
      "sha256": [hashlib.sha256(data).digest() for _, data in entries],
      "bytes": [data for _, data in entries],
    },
    _SCHEMA.with_metadata({_BAD: json.dumps(notes)}),
  )
  path = folder / f"part-{number:05d}.parquet"
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
    self._paths = sorted(folder.glob("part-*.parquet"))
    self._ends: list[int] = []
    for path in self._paths:
      rows = pq.ParquetFile(path).metadata.num_rows
      self._ends.append(rows + (self._ends[-1] if self._ends else 0))
    self._first = first
    stored = self._ends[-1] if self._ends else 0
    self._length = (stored if end is None else end) - first
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
    part = bisect.bisect_right(self._ends, index)
    if part != self._open:  # Rows are asked for in order: one file at hand.
      table = pq.read_table(self._paths[part], columns=["bytes"])
      self._pictures, self._open = table["bytes"].to_pylist(), part
    return self._pictures[index - (self._ends[part - 1] if part else 0)]


def names(folder: pathlib.Path) -> list[str]:
  """Keys of all rows; "" for row 0."""
  return _found(sorted(folder.glob("part-*.parquet")))[0]


def digests(folder: pathlib.Path) -> list[bytes]:
  """SHA-256 of all rows' pictures."""
  paths = sorted(folder.glob("part-*.parquet"))
  tables = [pq.read_table(path, columns=["sha256"]) for path in paths]
  return [d for table in tables for d in table["sha256"].to_pylist()]
