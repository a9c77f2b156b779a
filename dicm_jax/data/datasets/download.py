"""What readers of public data sets share: files that the user downloaded."""

from collections.abc import Collection
import pathlib

import pyarrow as pa

from dicm_jax import errors
from dicm_jax.data import source
from dicm_jax.data.readers import table


def find(samples: pathlib.Path, pattern: str, where: str) -> pathlib.Path:
  """The file of a folder that fits a pattern.

  Args:
    samples: the folder, or a file in it that says which one is meant where
      several fit.
    pattern: as for `pathlib.Path.glob`.
    where: the files can be had from.

  Raises:
    InputError: there is none, and where to get it; or there are several.
  """
  if samples.is_file() and samples.match(pattern):
    return samples
  folder = samples.parent if samples.is_file() else samples
  return one_of(sorted(folder.glob(pattern)), folder, pattern, where)


def one_of(
  found: Collection[pathlib.Path], folder: pathlib.Path, what: str, where: str
) -> pathlib.Path:
  """The one file of those found; else see `find`."""
  if len(found) > 1:
    names = ", ".join(p.relative_to(folder).as_posix() for p in found)
    raise errors.InputError(
      f"--samples: {folder}: expected one {what}, found {names}; name the one "
      "that is meant, as in --samples=FILE"
    )
  for path in found:
    return path
  raise errors.InputError(
    f"--samples: {folder} holds no {what}. Download it first: {where}"
  )


def raw(
  path: pathlib.Path, names: tuple[str, ...], bad: source.Bad
) -> pa.Table:
  """Some columns of a whole CSV file as text, and a column `line`."""
  blocks = [
    block.append_column("line", pa.array(lines))
    for lines, block in table.raw_blocks(path, names, bad)
  ]
  if blocks:
    return pa.concat_tables(blocks)
  return pa.table({n: pa.array([], pa.string()) for n in names}).append_column(
    "line", pa.array([], pa.int64())
  )


def distinct(path: pathlib.Path, name: str) -> pa.Table:
  """The values of a column that occur, in order, as a table of it alone."""
  found = pa.array([], pa.string())
  # Whoever reads the log is told of its wrong lines.
  for _, block in table.raw_blocks(path, (name,), source.Bad("skip")):
    found = pa.concat_arrays([found, block[name].combine_chunks()]).unique()
  return pa.table({name: found.drop_null()}).sort_by(name)
