"""Rows of delimited text (CSV, TSV) in blocks of columns.

Every column is read as bytes, never guessed; an empty field is null.
"""

from collections.abc import Iterator
import contextlib
import csv
import gzip
import pathlib
import re
import sys
from typing import NamedTuple

from jaxtyping import Int
import numpy as np
import pyarrow as pa
import pyarrow.csv

from dicm_jax import errors
from dicm_jax.data import source

BLOCK = 8 << 20
"""Bytes of a file that are parsed at a time."""

Block = tuple[Int[np.ndarray, " n"], pa.Table]
"""Numbers of the rows, counted from 1 with the header, and their columns."""


class Layout(NamedTuple):
  """How a file is written."""

  delimiter: str
  quoted: bool = True
  header: tuple[str, ...] = ()
  """Names of the columns where the file's first line does not give them."""


class _Wrong(NamedTuple):
  """A row with another number of fields."""

  number: int
  what: str
  unclosed: bool
  """Whether a quote is opened that nothing closes."""


def layout(path: pathlib.Path) -> Layout:
  """Tabs in .tsv files, else commas."""
  return Layout("\t" if ".tsv" in path.suffixes else ",")


def header(path: pathlib.Path) -> list[str]:
  """Names of the columns, from the first line.

  Raises:
    InputError: the file holds nothing, or no names on its first line.
  """
  open_ = gzip.open if path.suffix == ".gz" else open
  with open_(path, "rb") as file:
    first = file.readline(BLOCK).decode("utf-8-sig", "replace")
  if not first:
    raise errors.InputError(
      f"{path}: expected a first line with the columns' names, found an empty "
      "file"
    )
  line = [first.rstrip("\r\n")]
  try:
    return next(csv.reader(line, delimiter=layout(path).delimiter), [])
  except csv.Error as e:
    raise errors.InputError(
      f"{path}, line 1: expected the columns' names: {e}"
    ) from e


def blocks(
  path: pathlib.Path,
  names: tuple[str, ...] | None,
  bad: source.Bad,
  form: Layout,
) -> Iterator[Block]:
  """Yields blocks of rows; those that are empty in all columns are no rows.

  Args:
    path: of the file; .gz is unpacked.
    names: columns to read; None: all.
    bad: is told of rows with another number of fields.
    form: how the file is written.

  Raises:
    InputError: a row has another number of fields and `bad` says stop; or a
      quote is not closed; or the header is no line of its own.
    OSError, pa.ArrowException: the file cannot be read.
  """
  columns = list(form.header) or header(path)
  wrong: list[_Wrong] = []

  def note(row) -> str:
    wrong.append(_wrong(row))
    return "skip"

  number = 1 if form.header else 2
  try:
    with _quiet():
      reader = _open(path, names, columns, form, note)
    if reader.schema.names != (list(names) if names is not None else columns):
      raise errors.InputError(f"{path}: expected the header on line 1")
    for batch in _batches(reader):
      rows = _numbers(number, len(batch), wrong)
      number = int(rows[-1]) + 1 if len(rows) else number
      wrong = _report(path, bad, wrong, number)
      yield _without_empty(rows, pa.Table.from_batches([batch]))
  except pa.ArrowInvalid as e:
    if "straddling" in str(e):
      raise _unclosed(path, number) from e
    undecoded = re.search(r"Row #(\d+): Expected (\d+) columns", str(e))
    if undecoded is None:
      raise
    raise errors.InputError(
      f"{path}, line {undecoded[1]}: expected {undecoded[2]} fields of UTF-8 "
      "text, found another number and bytes that are none; --on_bad=skip "
      "cannot pass such a line over"
    ) from e
  _report(path, bad, wrong, None)


def _batches(
  reader: pyarrow.csv.CSVStreamingReader,
) -> Iterator[pa.RecordBatch]:
  while True:
    try:
      with _quiet():
        batch = reader.read_next_batch()
    except StopIteration:
      return
    yield batch


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Of a wrong row that is no UTF-8 Arrow tells us by an error, and the
  terminal by a traceback that helps nobody."""
  show = sys.unraisablehook
  sys.unraisablehook = lambda _: None
  try:
    yield
  finally:
    sys.unraisablehook = show


def _open(path, names, columns, form: Layout, note):
  return pyarrow.csv.open_csv(
    path,
    # In one thread Arrow knows the number of a wrong row; no slower here.
    pyarrow.csv.ReadOptions(
      block_size=BLOCK, use_threads=False, column_names=form.header or None
    ),
    pyarrow.csv.ParseOptions(
      delimiter=form.delimiter,
      quote_char='"' if form.quoted else False,
      newlines_in_values=form.quoted,
      ignore_empty_lines=False,  # They count as lines.
      invalid_row_handler=note,
    ),
    pyarrow.csv.ConvertOptions(
      column_types={name: pa.binary() for name in columns},
      include_columns=list(names) if names is not None else None,
      strings_can_be_null=True,
      null_values=[""],
      quoted_strings_can_be_null=True,
    ),
  )


def _wrong(row) -> _Wrong:
  what = (
    f"expected {row.expected_columns} fields, found {row.actual_columns}: "
    f"{row.text[:60]!r}"
  )
  unclosed = row.text.count('"') % 2 == 1 and "\n" in row.text
  return _Wrong(row.number, what, unclosed)


def _numbers(
  first: int, count: int, wrong: list[_Wrong]
) -> Int[np.ndarray, " n"]:
  """Numbers of the next `count` good rows, the wrong ones passed over."""
  if not wrong:
    return np.arange(first, first + count)
  numbers = np.arange(first, first + count + len(wrong))
  return np.setdiff1d(numbers, [row.number for row in wrong])[:count]


def _report(
  path, bad: source.Bad, wrong: list[_Wrong], before: int | None
) -> list[_Wrong]:
  """Reports the wrong rows before a number; returns the others."""
  left = []
  for row in wrong:
    if before is not None and row.number >= before:
      left.append(row)
    elif row.unclosed:
      raise _unclosed(path, row.number)
    else:
      bad.report(path, row.number, row.what)
  return left


def _unclosed(path, number: int) -> errors.InputError:
  return errors.InputError(
    f"{path}, line {number} or after: expected a closing quote, found none "
    f"within {BLOCK >> 20} MB"
  )


def _without_empty(rows, table: pa.Table) -> Block:
  if not all(c.null_count for c in table.columns):
    return rows, table
  there = np.zeros(len(table), bool)
  for column in table.columns:
    there |= column.is_valid().to_numpy()
  return rows[there], table.filter(pa.array(there))
