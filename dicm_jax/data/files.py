"""Writing files so that a kill leaves either all of one or nothing."""

from collections.abc import Callable, Iterator
import contextlib
import hashlib
import json
import os
import pathlib
from typing import Any
import uuid

import pyarrow as pa
import pyarrow.parquet as pq

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
