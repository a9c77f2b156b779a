"""Criteo display advertising: ids and counts without pictures, a baseline.

A line is the label, 13 counts and 26 hashed ids between tabs, no header. The
log names neither user nor time: lines stand in order of time over 7 days.
"""

from collections.abc import Iterator
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from dicm_jax import errors
from dicm_jax.data import schema, source
from dicm_jax.data.datasets import download
from dicm_jax.data.readers import columns

WHERE = (
  "https://ailab.criteo.com/ressources (Kaggle display advertising challenge: "
  "train.txt; for research)"
)
NOTICE = (
  "Criteo: the log names no user, so every line is a user of its own and GAUC "
  "is undefined; the last seventh of the lines is the test, as the last of 7 "
  "days. Counts x become log(1 + x)."
)

COUNTS = tuple(f"I{n}" for n in range(1, 14))
IDS = tuple(f"C{n}" for n in range(1, 27))
DAYS = 7


def _schema(lines: int) -> schema.Schema:
  return schema.Schema(
    log=schema.Log(label="label", user="line", time="line"),
    feature=(
      *(schema.Field(name=n, side="ad", kind="dense") for n in COUNTS),
      *(schema.Field(name=n, side="ad", kind="id", min_count=10) for n in IDS),
    ),
    split=schema.Split(
      rule="time", test_from=schema.iso(1000 * (lines - lines // DAYS + 1))
    ),
  )


def events(folder: pathlib.Path, bad: source.Bad) -> source.Events:
  """Reads train.txt; a line's number stands for user and time.

  Raises:
    InputError: the file is missing.
  """
  del bad  # There is no item table.
  path = download.find(folder, "train.txt", WHERE)
  with path.open("rb") as file:
    lines = sum(
      block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b"")
    )
  return source.Events(
    schema=_schema(lines), files=(path,), read=read, notice=NOTICE
  )


def read(
  path: pathlib.Path, wanted: schema.Schema, bad: source.Bad
) -> Iterator[pa.Table]:
  """Yields blocks of events.

  Raises:
    InputError: a line has another number of fields, or a value is wrong.
  """
  names = ["label", *COUNTS, *IDS]
  reader = pyarrow.csv.open_csv(
    path,
    pyarrow.csv.ReadOptions(column_names=names, block_size=8 << 20),
    pyarrow.csv.ParseOptions(delimiter="\t", quote_char=False),
    pyarrow.csv.ConvertOptions(
      column_types={name: pa.string() for name in names},
      strings_can_be_null=True,
      null_values=[""],
    ),
  )
  first = 1
  try:
    for batch in reader:
      lines = np.arange(first, first + len(batch))
      first += len(batch)
      raw = _logarithms(pa.Table.from_batches([batch]))
      raw = raw.append_column("line", pa.array(lines))
      yield columns.events(raw, lines, wanted, bad, path)
  except pa.ArrowInvalid as e:
    raise errors.InputError(f"{path}: {e}") from e


def _logarithms(raw: pa.Table) -> pa.Table:
  """Counts as log(1 + x); the few negative ones (of I2) count as 0."""
  for name in COUNTS:
    column = raw[name].cast(pa.float64())
    least = pc.call_function("max_element_wise", [column, 0.0])
    least = pc.call_function("if_else", [column.is_null(), None, least])
    logs = pc.call_function("log1p", [least])
    raw = raw.set_column(raw.column_names.index(name), name, logs)
  return raw
