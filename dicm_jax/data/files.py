"""Writing files so that a kill leaves either all of one or nothing."""

from collections.abc import Callable, Iterator
import contextlib
import hashlib
import json
import os
import pathlib
from typing import Any
import uuid

from jaxtyping import UInt8
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dicm_jax import errors

PART = ".part"
"""End of the name of a file that is being written."""


@contextlib.contextmanager
def whole(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Gives a name to write under; the file takes its own once it is complete.

  No two writers share such a name, so the same file may be made twice at once.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_name(f"{path.name}.{uuid.uuid4().hex}{PART}")
  try:
    yield part
    os.replace(part, path)
  except BaseException:
    part.unlink(missing_ok=True)
    raise


def remove_parts(folder: pathlib.Path) -> None:
  """Removes what killed writers left, folders within included."""
  for part in folder.rglob(f"*{PART}"):
    part.unlink(missing_ok=True)


def write_parquet(path: pathlib.Path, table: pa.Table, **options: Any) -> None:
  with whole(path) as part:
    pq.write_table(table, part, **options)


def read_column(path: pathlib.Path, name: str) -> pa.ChunkedArray:
  """One column of a Parquet file.

  Raises:
    InputError: the file is missing, damaged, or lacks the column.
  """
  # Ten times as fast for small files as `read_table`, which first looks whether
  # the path is a whole data set.
  with reading(path), pq.ParquetFile(path) as file:
    return file.read([name])[name]


def read_texts(path: pathlib.Path, name: str) -> list[str]:
  """A column of strings, none missing.

  Raises:
    InputError: as `read_column`, or it holds something else.
  """
  column = read_column(path, name)
  if column.type != pa.string() or column.null_count:
    raise errors.InputError(
      f"{path}: column {name!r}: expected strings, none missing; found "
      f"{column.type}, {column.null_count} missing"
    )
  with reading(path):
    return column.to_pylist()


def digests_of(
  path: pathlib.Path, name: str, column: pa.ChunkedArray
) -> UInt8[np.ndarray, "n 32"]:
  """A column of SHA-256 digests, none missing.

  Raises:
    InputError: it holds something else.
  """
  if column.type != pa.binary(32) or column.null_count:
    raise errors.InputError(
      f"{path}: column {name!r}: expected SHA-256 digests, none missing; found "
      f"{column.type}, {column.null_count} missing"
    )
  whole = column.combine_chunks()
  begin, count = whole.offset, len(whole)
  data = np.frombuffer(whole.buffers()[1] or b"", np.uint8).reshape(-1, 32)
  return data[begin : begin + count]


def digests_column(digests: UInt8[np.ndarray, "n 32"]) -> pa.Array:
  """The inverse of `digests_of`."""
  data = pa.py_buffer(np.ascontiguousarray(digests).tobytes())
  return pa.Array.from_buffers(pa.binary(32), len(digests), [None, data])


def column_names(path: pathlib.Path) -> list[str]:
  """Of a Parquet file.

  Raises:
    InputError: the file is missing or damaged.
  """
  with reading(path):
    return pq.read_schema(path).names


def num_rows(path: pathlib.Path) -> int:
  """Of a Parquet file.

  Raises:
    InputError: the file is missing or damaged.
  """
  with reading(path):
    return pq.read_metadata(path).num_rows


@contextlib.contextmanager
def reading(path: pathlib.Path) -> Iterator[None]:
  """Makes what Arrow raises of a damaged file an InputError."""
  try:
    yield
  except (OSError, KeyError, UnicodeDecodeError, pa.ArrowException) as e:
    raise errors.InputError(f"{path}: cannot be read: {e}") from e


def write_json(path: pathlib.Path, value: Any) -> None:
  """Sorted keys, so that equal values make equal bytes."""
  with whole(path) as part:
    part.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def once(marker: pathlib.Path, work: Callable[[], Any]) -> Any:
  """Does a piece of work unless its result is there already.

  Args:
    marker: JSON file of the result, written after the work is done.
    work: returns the result; repeating half of it must do no harm.
  """
  if not marker.exists():
    write_json(marker, work())
  return json.loads(marker.read_text())


def digest(path: pathlib.Path) -> str:
  """Hexadecimal SHA-256 of a file."""
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
