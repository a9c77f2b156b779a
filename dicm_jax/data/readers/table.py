"""Logs and item tables as CSV, JSON lines or Parquet, to blocks of events.

Values are read as text and given their meaning by the schema, so that a file
means the same however it is cut. CSV columns are never guessed; a wrong value
is reported with its line.
"""

from collections.abc import Iterator
import csv
import gzip
import json
import pathlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from dicm_jax import errors
from dicm_jax.data import schema, source
from dicm_jax.data.readers import columns

SUFFIXES = {
  ".csv": "csv",
  ".tsv": "csv",
  ".jsonl": "json",
  ".ndjson": "json",
  ".json": "json",
  ".parquet": "parquet",
}
_CSV_BLOCK = 8 << 20
"""Bytes of a CSV file that are parsed at a time."""


def read(
  path: pathlib.Path, wanted: schema.Schema, bad: source.Bad
) -> Iterator[pa.Table]:
  """Yields a log's blocks of events, as `schema.block_schema` says.

  A line's number counts the header and takes a row for a line: a CSV field
  with a line break in it shifts the numbers after it.

  Raises:
    InputError: the file's kind is unknown, it cannot be read, or a column is
      missing; or a value is wrong and `bad` says stop.
  """
  names = columns.of_events(wanted)
  for first, block in raw_blocks(path, names):
    lines = np.arange(first, first + len(block))
    yield columns.events(block, lines, wanted, bad, path)


def read_positives(
  path: pathlib.Path, wanted: schema.Schema, bad: source.Bad
) -> Iterator[pa.Table]:
  """As `read`, for a log of clicks alone, without a column of labels."""
  names = tuple(n for n in columns.of_events(wanted) if n != wanted.log.label)
  for first, block in raw_blocks(path, names):
    lines = np.arange(first, first + len(block))
    ones = pa.array(np.ones(len(block)))
    block = block.append_column(wanted.log.label, ones)
    yield columns.events(block, lines, wanted, bad, path)


def read_items(
  path: pathlib.Path, wanted: schema.Schema, bad: source.Bad
) -> pa.Table:
  """Reads an item table, as `schema.items_schema` says.

  Raises:
    InputError: as `read`; or a key occurs twice and `bad` says stop.
  """
  out = []
  for first, block in raw_blocks(path, columns.of_items(wanted)):
    lines = np.arange(first, first + len(block))
    out.append(columns.items(block, lines, wanted, bad, path))
  table = (
    pa.concat_tables(out) if out else schema.items_schema(wanted).empty_table()
  )
  return without_repeats(table.combine_chunks(), path, bad)


def without_repeats(
  table: pa.Table, path: pathlib.Path, bad: source.Bad
) -> pa.Table:
  """An item table with the first line of each key.

  Raises:
    InputError: a key occurs twice and `bad` says stop.
  """
  keys = table["item"].to_numpy(zero_copy_only=False)
  _, first = np.unique(keys, return_index=True)
  keep = np.zeros(len(keys), bool)
  keep[first] = True
  for row in np.flatnonzero(~keep).tolist():
    bad.report(path, f"item {keys[row]!r}", "occurs twice; expected once")
  return table.filter(pa.array(keep))


def kind_of(path: pathlib.Path) -> str:
  """csv, json or parquet, by the file's name.

  Raises:
    InputError: it is none of them.
  """
  plain = path.with_suffix("") if path.suffix == ".gz" else path
  kind = SUFFIXES.get(plain.suffix.lower())
  if kind is None or (kind == "parquet" and path.suffix == ".gz"):
    known = ", ".join(SUFFIXES)
    raise errors.InputError(
      f"{path}: expected a name that ends with {known} (text also with .gz)"
    )
  return kind


def raw_blocks(
  path: pathlib.Path, names: tuple[str, ...] | None
) -> Iterator[tuple[int, pa.Table]]:
  """Yields the line of a block's first row, and its columns as they stand.

  Args:
    path: the file.
    names: columns to read; None: all.
  """
  read = {"csv": _csv, "json": _json, "parquet": _parquet}[kind_of(path)]
  try:
    for first, block in read(path, names):
      if names is not None:
        _check_columns(path, block.column_names, names)
      for start in range(0, len(block), source.BLOCK_ROWS):
        part = block.slice(start, source.BLOCK_ROWS)
        yield first + start, part.combine_chunks()
  except (OSError, EOFError, pa.ArrowInvalid) as e:
    text = " ".join(str(e).split())
    raise errors.InputError(f"{path}: cannot be read: {text}") from e


def _check_columns(path, present: list[str], names: tuple[str, ...]) -> None:
  for name in names:
    if name not in present:
      error = errors.unknown_name("column", name, present)
      raise errors.InputError(f"{path}: {error}")


def _csv(path, names) -> Iterator[tuple[int, pa.Table]]:
  """Every column as text; an empty field is null."""
  header = _header(path)
  if names is not None:
    _check_columns(path, header, names)
  reader = pyarrow.csv.open_csv(
    path,
    read_options=pyarrow.csv.ReadOptions(block_size=_CSV_BLOCK),
    parse_options=pyarrow.csv.ParseOptions(
      delimiter="\t" if ".tsv" in path.suffixes else ",",
      newlines_in_values=True,
    ),
    convert_options=pyarrow.csv.ConvertOptions(
      column_types={name: pa.string() for name in header},
      include_columns=list(names) if names is not None else None,
      strings_can_be_null=True,
      null_values=[""],
      quoted_strings_can_be_null=True,
    ),
  )
  line = 2
  for batch in reader:
    yield line, pa.Table.from_batches([batch])
    line += len(batch)


def _header(path: pathlib.Path) -> list[str]:
  open_ = gzip.open if path.suffix == ".gz" else open
  with open_(path, "rb") as file:
    first = file.readline().decode("utf-8-sig", "replace")
  delimiter = "\t" if ".tsv" in path.suffixes else ","
  return next(csv.reader([first.rstrip("\r\n")], delimiter=delimiter), [])


def _parquet(path, names) -> Iterator[tuple[int, pa.Table]]:
  file = pq.ParquetFile(path)
  if names is not None:
    _check_columns(path, file.schema_arrow.names, names)
  line = 1
  for batch in file.iter_batches(
    source.BLOCK_ROWS, columns=list(names) if names is not None else None
  ):
    yield line, pa.Table.from_batches([batch])
    line += len(batch)


def _json(path, names) -> Iterator[tuple[int, pa.Table]]:
  """One object a line; columns that a line lacks are null."""
  open_ = gzip.open if path.suffix == ".gz" else open
  with open_(path, "rt", encoding="utf-8") as file:
    lines: list[dict[str, Any]] = []
    first = 1
    for number, text in enumerate(file, start=1):
      lines.append(_object(path, number, text))
      if len(lines) == source.BLOCK_ROWS:
        yield first, _table(lines, names)
        lines, first = [], number + 1
    if lines:
      yield first, _table(lines, names)


def _object(path, number: int, text: str) -> dict[str, Any]:
  try:
    # Numbers stay text: 64-bit ids keep every digit.
    found = json.loads(text, parse_int=str, parse_float=str)
  except ValueError as e:
    raise errors.InputError(f"{path}, line {number}: no JSON: {e}") from e
  if not isinstance(found, dict):
    raise errors.InputError(
      f"{path}, line {number}: expected an object, found {text.strip()[:40]!r}"
    )
  return found


def _table(lines: list[dict[str, Any]], names) -> pa.Table:
  if names is None:
    names = tuple(dict.fromkeys(key for line in lines for key in line))
  present = {key for line in lines for key in line}
  return pa.table(
    {
      name: _texts([line.get(name) for line in lines])
      for name in names
      if name in present
    }
  )


def _texts(values: list[Any]) -> pa.Array:
  """JSON values as text, or as lists of text where there are lists."""

  def text(value) -> str | None:
    if value is None or isinstance(value, str):
      return value
    return json.dumps(value)  # true, false, nested objects

  if any(isinstance(value, list) for value in values):
    lists = [
      None
      if v is None
      else [text(x) for x in v]
      if isinstance(v, list)
      else [text(v)]
      for v in values
    ]
    return pa.array(lists, pa.list_(pa.string()))
  return pa.array([text(value) for value in values], pa.string())
