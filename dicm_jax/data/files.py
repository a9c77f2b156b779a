"""Writing files so that a kill leaves either all of one or nothing."""

from collections.abc import Callable
import hashlib
import json
import os
import pathlib
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

PART = ".part"
"""End of the name of a file that is being written."""


def write_parquet(path: pathlib.Path, table: pa.Table, **options: Any) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_name(path.name + PART)
  pq.write_table(table, part, **options)
  os.replace(part, path)


def write_json(path: pathlib.Path, value: Any) -> None:
  """Sorted keys, so that equal values make equal bytes."""
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_name(path.name + PART)
  part.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
  os.replace(part, path)


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
