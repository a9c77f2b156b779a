"""Titles of a prepared data set: line r of titles.parquet is of image row r.

Where there are neither pictures nor vectors, it alone says what image row r is.
"""

from collections.abc import Sequence
import pathlib

import pyarrow as pa

from dicm_jax.data import files

NAME = "titles.parquet"


def exists(root: pathlib.Path) -> bool:
  return (root / NAME).exists()


def write(root: pathlib.Path, keys: Sequence[str], titles: pa.Array) -> None:
  """Writes all of it or nothing.

  Args:
    root: folder of the data set.
    keys: of each image row; "" for row 0.
    titles: string, of each image row; "" where there is none.
  """
  columns = {"key": pa.array(keys, pa.string()), "title": titles}
  files.write_parquet(root / NAME, pa.table(columns))


def keys(root: pathlib.Path) -> list[str]:
  """Key of each image row; "" for row 0.

  Raises:
    InputError: the file is damaged.
  """
  return _column(root, "key")


def read(root: pathlib.Path) -> tuple[str, ...] | None:
  """Title of each image row; None where nobody gave any.

  Raises:
    InputError: the file is damaged.
  """
  return tuple(_column(root, "title")) if exists(root) else None


def _column(root: pathlib.Path, name: str) -> list[str]:
  return files.read_texts(root / NAME, name)
