"""Objects of a JSON lines file in blocks of columns."""

from collections.abc import Iterator
import gzip
import json
import pathlib
import re
from typing import Any

from jaxtyping import Int
import numpy as np
import pyarrow as pa

from dicm_jax import errors
from dicm_jax.data import source
from dicm_jax.data.readers import values

BLOCK = 32 << 20
"""Bytes of the lines of a block, about."""
LONGEST = 64 << 20
"""Bytes of a line: a whole file on one line is no JSON lines."""

LEVELS = 100
"""Objects and lists that lie in one another, at most."""
MAX_COLUMNS = 1000
"""Of a block, where all are read: each of its lines has a place in each."""

# Half a character, which JSON can escape and UTF-8 cannot write.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_TEXT, _MARKS = re.compile(rb'"(?:[^"\\]|\\.)*"'), re.compile(rb"[][{}]")

Block = tuple[Int[np.ndarray, " n"], pa.Table]
"""Numbers of the lines, from 1, and their columns."""


def blocks(
  path: pathlib.Path, names: tuple[str, ...] | None, bad: source.Bad
) -> Iterator[Block]:
  """Yields blocks of lines; what a line lacks is null, blank lines are none.

  Args:
    path: of the file; .gz is unpacked.
    names: columns to read, and all that is kept of a line; None: all.
    bad: is told of lines that are no objects.

  Raises:
    InputError: a line is no object and `bad` says stop; a line is longer than
      `LONGEST`; no line of the first block has one of the names; or all are
      read and they are too many.
    OSError, EOFError, zlib.error: the file cannot be read.
  """
  present: dict[str, None] = {}
  every: dict[str, None] = {}
  missing = set(names or ())
  numbers: list[int] = []
  rows: list[dict[str, Any]] = []
  size = 0
  for number, line in _lines(path):
    try:
      found = _object(line)
    except (ValueError, RecursionError) as e:
      bad.report(path, number, f"expected a JSON object: {e}")
      continue
    if missing:
      present |= dict.fromkeys(found)
      missing.difference_update(found)
    if names is not None:
      found = {name: found[name] for name in names if name in found}
    else:
      every |= dict.fromkeys(found)
      _check_columns(path, number, every)
    numbers.append(number)
    rows.append(found)
    size += len(line)
    if len(rows) == source.BLOCK_ROWS or size >= BLOCK:
      _check(path, missing, present)
      yield np.array(numbers), _table(rows, names)
      numbers, rows, size, missing, every = [], [], 0, set(), {}
  if rows:
    _check(path, missing, present)
    yield np.array(numbers), _table(rows, names)


def _lines(path: pathlib.Path) -> Iterator[tuple[int, bytes]]:
  open_ = gzip.open if path.suffix == ".gz" else open
  with open_(path, "rb") as file:
    number = 0
    while line := file.readline(LONGEST):
      number += 1
      if len(line) == LONGEST and not line.endswith(b"\n"):
        raise errors.InputError(
          f"{path}, line {number}: expected an object a line, found more than "
          f"{LONGEST >> 20} MB without a line break"
        )
      if not line.isspace():
        yield number, line.removeprefix(b"\xef\xbb\xbf")


def _object(line: bytes) -> dict[str, Any]:
  if line.count(b"[") + line.count(b"{") > LEVELS:
    _check_depth(line)
  # Numbers stay text: 64-bit ids keep every digit.
  found = json.loads(line.decode(), parse_int=str, parse_float=str)
  if not isinstance(found, dict):
    raise ValueError(f"found {line.decode().strip()[:40]!r}")
  if _SURROGATE.search(line):
    json.dumps(found, ensure_ascii=False).encode()
  return found


def _check_depth(line: bytes) -> None:
  """Refuses what lies too deep; marks within a text do not count."""
  level = 0
  for mark in _MARKS.findall(_TEXT.sub(b"", line)):
    level += 1 if mark in b"[{" else -1
    if level > LEVELS:
      raise ValueError(f"found more than {LEVELS} levels")


def _check(path, missing: set[str], present: dict[str, None]) -> None:
  for name in sorted(missing):
    error = errors.unknown_name("column", name, present)
    raise errors.InputError(f"{path}: {error}")


def _check_columns(path, number: int, every: dict[str, None]) -> None:
  if len(every) > MAX_COLUMNS:
    raise errors.InputError(
      f"{path}, line {number}: expected at most {MAX_COLUMNS:,} names in all "
      f"lines together, found {len(every):,}"
    )


def _table(rows: list[dict[str, Any]], names) -> pa.Table:
  if names is None:
    names = tuple(dict.fromkeys(key for row in rows for key in row))
  return pa.table(
    {name: _column([row.get(name) for row in rows]) for name in names}
  )


def _column(found: list[Any]) -> pa.Array:
  """Text, lists of text, or both; see `values.MIXED`."""
  try:
    return pa.array(found, pa.string())
  except pa.ArrowTypeError:  # Booleans, lists or objects among them.
    pass
  if not any(isinstance(value, list) for value in found):
    return pa.array([_text(value) for value in found], pa.string())
  many = pa.array(
    [
      [_text(v) for v in value] if isinstance(value, list) else None
      for value in found
    ],
    pa.list_(pa.string()),
  )
  ones = pa.array(
    [None if isinstance(value, list) else _text(value) for value in found],
    pa.string(),
  )
  if ones.null_count == len(ones):
    return many
  return pa.StructArray.from_arrays([ones, many], fields=list(values.MIXED))


def _text(value) -> str | None:
  if value is None or isinstance(value, str):
    return value
  return json.dumps(value)  # true, false, nested objects
