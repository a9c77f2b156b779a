"""Titles by image key: CSV, JSON lines or Parquet with two columns."""

import pathlib

import pyarrow as pa

from dicm_jax import errors
from dicm_jax.data import source
from dicm_jax.data.readers import columns, table

COLUMNS = ("key", "title")


def read(path: pathlib.Path, bad: source.Bad) -> pa.Table:
  """Reads a table of titles; other columns of it are passed over.

  Args:
    path: of the file, as `table.kind_of` knows it.
    bad: is told of keys that are missing or occur twice, the first of which
      counts, and of titles that are no text.

  Returns:
    `key` string and `title` string, "" where there is none.

  Raises:
    InputError: the file cannot be read or lacks a column; or something is wrong
      and `bad` says stop.
  """
  if not path.is_file():
    raise errors.InputError(f"--titles: {path} is no file")
  made = [
    columns.titles(block, lines, bad, path)
    for lines, block in table.raw_blocks(path, COLUMNS, bad)
  ]
  if not made:
    return pa.table({name: pa.array([], pa.string()) for name in COLUMNS})
  return table.without_repeats(pa.concat_tables(made), path, bad, "key")
