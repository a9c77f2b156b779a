"""Criteo display advertising: ids and counts without pictures, a baseline.

A line is the label, 13 counts and 26 hashed ids between tabs, no header. The
log names neither user nor time: lines stand in order of time over 7 days.
"""

from collections.abc import Iterator
import pathlib

import numpy as np
import pyarrow as pa

from dicm_jax.data import schema, source
from dicm_jax.data.datasets import download
from dicm_jax.data.readers import columns, delimited, table

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
FORM = delimited.Layout("\t", quoted=False, header=("label", *COUNTS, *IDS))
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


def events(samples: pathlib.Path, bad: source.Bad) -> source.Events:
  """Reads train.txt; a line's number stands for user and time.

  Raises:
    InputError: the file is missing.
  """
  del bad  # There is no item table.
  path = download.find(samples, "train.txt", WHERE)
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
    InputError: a line has another number of fields or a value is wrong, and
      `bad` says stop; or the file cannot be read.
  """
  for lines, raw in table.raw_blocks(path, None, bad, FORM):
    raw = raw.append_column("line", pa.array(lines))
    block = columns.events(raw, lines, wanted, bad, path)
    for field in wanted.feature:
      if field.column in COUNTS and field.kind == "dense":
        logs = _logarithms(block[field.name].combine_chunks())
        place = block.column_names.index(field.name)
        block = block.set_column(place, field.name, logs)
    yield block


def _logarithms(counts: pa.Array) -> pa.Array:
  """Lists of log(1 + x); the few negative x (of I2) count as 0."""
  found = counts.flatten().to_numpy().astype(np.float64)
  logs = np.log1p(np.maximum(found, 0)).astype(np.float32)
  lengths = counts.value_lengths().to_numpy()
  offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
  return pa.ListArray.from_arrays(pa.array(offsets), pa.array(logs))
