"""Logs and item tables as CSV, JSON lines or Parquet, to blocks of events.

Values are read as text and given their meaning by the schema, so that a file
means the same however it is cut. CSV columns are never guessed; a wrong value
is reported with its line.
"""

import collections
from collections.abc import Iterator
import pathlib
import zlib

from jaxtyping import Int
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dicm_jax import errors
from dicm_jax.data import schema, source
from dicm_jax.data.readers import (
  columns,
  delimited,
  json_lines,
  parquet_rows,
  values,
)

SUFFIXES = {
  ".csv": "csv",
  ".tsv": "csv",
  ".jsonl": "json",
  ".ndjson": "json",
  ".json": "json",
  ".parquet": "parquet",
}

MAX_COLUMNS = 10_000
"""Columns of a file, at most."""

Block = tuple[Int[np.ndarray, " n"], pa.Table]
"""Numbers of lines, from 1, and their columns as `values` describes."""


def read(
  path: pathlib.Path, wanted: schema.Schema, bad: source.Bad
) -> Iterator[pa.Table]:
  """Yields a log's blocks of events, as `schema.block_schema` says.

  A line's number counts the header and blank lines and takes a row for a line:
  a CSV field with a line break in it shifts the numbers after it.

  Raises:
    InputError: the file's kind is unknown, it cannot be read, or a column is
      missing; or a value is wrong and `bad` says stop.
  """
  names = columns.of_events(wanted)
  for lines, block in raw_blocks(path, names, bad):
    yield columns.events(block, lines, wanted, bad, path)


def read_items(
  path: pathlib.Path, wanted: schema.Schema, bad: source.Bad
) -> pa.Table:
  """Reads an item table, as `schema.items_schema` says.

  Raises:
    InputError: as `read`; or a key occurs twice and `bad` says stop.
  """
  made = [
    columns.items(block, lines, wanted, bad, path)
    for lines, block in raw_blocks(path, columns.of_items(wanted), bad)
  ]
  if not made:
    return schema.items_schema(wanted).empty_table()
  return without_repeats(pa.concat_tables(made), path, bad)


def without_repeats(
  items: pa.Table, path: pathlib.Path, bad: source.Bad, name: str = "item"
) -> pa.Table:
  """A table with a column `line`, of it the first line of each key.

  Args:
    items: e.g. of `columns.items`.
    path: of its file.
    bad: is told of the other lines.
    name: of the column of keys.

  Raises:
    InputError: a key occurs twice and `bad` says stop.
  """
  keys = items[name].to_numpy(zero_copy_only=False)
  lines = items["line"].to_numpy()
  _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
  keep = np.zeros(len(keys), bool)
  keep[first] = True
  for row in np.flatnonzero(~keep).tolist():
    earlier = lines[first[inverse[row]]]
    what = f"{name} {keys[row]!r}: occurs twice, first in line {earlier}"
    bad.report(path, int(lines[row]), what)
  return items.drop_columns(["line"]).filter(pa.array(keep)).combine_chunks()


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
  path: pathlib.Path,
  names: tuple[str, ...] | None,
  bad: source.Bad,
  form: delimited.Layout | None = None,
) -> Iterator[Block]:
  """Yields blocks of lines and their columns as they stand.

  Args:
    path: the file.
    names: columns to read; None: all.
    bad: is told of lines that cannot be read.
    form: of delimited text; None: as the file's name says.

  Raises:
    InputError: the file's kind is unknown, it cannot be read, or a column is
      missing or there twice; or a line cannot be read and `bad` says stop.
  """
  try:
    for lines, block in _blocks(path, names, bad, form):
      lines, block = _decoded(path, lines, block, bad)
      for start in range(0, len(block), source.BLOCK_ROWS):
        part = slice(start, start + source.BLOCK_ROWS)
        yield lines[part], block[part].combine_chunks()
  except (
    OSError,
    EOFError,
    zlib.error,
    UnicodeDecodeError,
    pa.ArrowException,
  ) as e:
    text = " ".join(str(e).split())
    raise errors.InputError(f"{path}: cannot be read: {text}") from e


def _blocks(path, names, bad: source.Bad, form) -> Iterator[Block]:
  if form:
    return delimited.blocks(path, names, bad, form)
  kind = kind_of(path)
  if kind == "json":
    return json_lines.blocks(path, names, bad)
  if kind == "parquet":
    return _parquet(path, names)
  check_columns(path, delimited.header(path), names)
  return delimited.blocks(path, names, bad, delimited.layout(path))


def check_columns(
  path: pathlib.Path, present: list[str], names: tuple[str, ...] | None
) -> None:
  """Checks that each name is there once, and that they are not too many.

  Args:
    path: of the file.
    present: its columns.
    names: those wanted; None: all.

  Raises:
    InputError: one is missing or there twice, or they are.
  """
  if len(present) > MAX_COLUMNS:
    raise errors.InputError(
      f"{path}: expected at most {MAX_COLUMNS:,} columns, found {len(present)}"
    )
  times = collections.Counter(present)
  for name in names or present:
    if name not in times:
      error = errors.unknown_name("column", name, present)
      raise errors.InputError(f"{path}: {error}")
    if times[name] > 1:
      raise errors.InputError(
        f"{path}: column {name!r}: expected once, found {times[name]} times"
      )


def _parquet(path, names) -> Iterator[Block]:
  # Else all that was read stays in memory until the end of the file.
  file = pq.ParquetFile(path, pre_buffer=False)
  check_columns(path, file.schema_arrow.names, names)
  names = list(names or file.schema_arrow.names)
  for name in names:
    _check_type(path, name, file.schema_arrow.field(name).type)
  line, rows = 1, parquet_rows.fitting(path, names, source.BLOCK_ROWS)
  for batch in file.iter_batches(rows, columns=names):
    yield np.arange(line, line + len(batch)), pa.Table.from_batches([batch])
    line += len(batch)


def _check_type(path, name: str, kind: pa.DataType) -> None:
  of = kind.value_type if values.is_list(kind) else kind
  of = of.value_type if pa.types.is_dictionary(of) else of
  if pa.types.is_nested(of) or pa.types.is_time(of) or pa.types.is_duration(of):
    raise errors.InputError(
      f"{path}: column {name!r}: expected text, numbers, dates, or lists of "
      f"them, found {kind}"
    )


def _decoded(path, lines, block: pa.Table, bad: source.Bad) -> Block:
  """Text as one type; lines with bytes that are no UTF-8 are left out."""
  right = np.ones(len(block), bool)
  for i, name in enumerate(block.column_names):
    column = block.column(i)
    if pa.types.is_dictionary(column.type):
      column = column.cast(column.type.value_type)
    if values.is_list(column.type):
      column.validate(full=True)
    if pa.types.is_string(column.type):  # Parquet looks at no letter of it.
      column = column.cast(pa.binary())
    if _is_text(column.type):
      encoded = column
      try:
        column = column.cast(pa.string())
      except pa.ArrowInvalid:
        column, found = _valid(column.combine_chunks())
        for row in np.flatnonzero(right & ~found).tolist():
          value = encoded[row].as_py()
          what = f"field {name!r}: expected UTF-8 text, found {value[:60]!r}"
          bad.report(path, int(lines[row]), what)
        right &= found
      block = block.set_column(i, name, column)
  if right.all():
    return lines, block
  return lines[right], block.filter(pa.array(right))


def _is_text(kind: pa.DataType) -> bool:
  return (
    pa.types.is_binary(kind)
    or pa.types.is_large_binary(kind)
    or pa.types.is_fixed_size_binary(kind)
    or pa.types.is_large_string(kind)
    or pa.types.is_string_view(kind)
    or pa.types.is_binary_view(kind)
  )


def _valid(column: pa.Array):
  """Text of bytes, null where they are none, and where they are."""

  def text(value: bytes | None) -> str | None:
    try:
      return None if value is None else value.decode()
    except UnicodeDecodeError:
      return None

  texts = pa.array(map(text, column.to_pylist()), pa.string())
  right = texts.is_valid().to_numpy(False) | values.is_null(column)
  return pa.chunked_array([texts]), right
