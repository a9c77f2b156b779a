"""What readers of public data sets share: files that the user downloaded."""

import pathlib

import pyarrow as pa

from dicm_jax import errors
from dicm_jax.data import schema, source
from dicm_jax.data.readers import columns, table


def find(folder: pathlib.Path, pattern: str, where: str) -> pathlib.Path:
  """The first file of a folder that fits a pattern, in order of names.

  Raises:
    InputError: there is none; the message says where to get it.
  """
  found = sorted(folder.glob(pattern)) if folder.is_dir() else []
  if not found:
    raise errors.InputError(
      f"--samples: {folder} holds no {pattern}. Download it first: {where}"
    )
  return found[0]


def raw(path: pathlib.Path, names: tuple[str, ...]) -> pa.Table:
  """Some columns of a whole file as text."""
  return pa.concat_tables([b for _, b in table.raw_blocks(path, names)])


def items(
  raw_items: pa.Table,
  wanted: schema.Schema,
  bad: source.Bad,
  path: pathlib.Path,
) -> pa.Table:
  """An item table of raw columns; of a key that repeats, the first line."""
  lines = pa.array(range(2, len(raw_items) + 2)).to_numpy()
  made = columns.items(raw_items.combine_chunks(), lines, wanted, bad, path)
  return table.without_repeats(made, path, bad)


def distinct(path: pathlib.Path, name: str) -> pa.Table:
  """The values of a column that occur, in order, as a table of it alone."""
  found = pa.array([], pa.string())
  for _, block in table.raw_blocks(path, (name,)):
    both = pa.concat_arrays(
      [found, block[name].cast(pa.string()).combine_chunks()]
    )
    found = both.unique()
  return pa.table({name: found.drop_null()}).sort_by(name)
