"""Shards of a prepared data set, column by column, nothing taken on trust.

A data set may come from anybody, and its manifest with it. So types, lengths
and row numbers are looked at: a row beyond its table would be read silently as
another one on the device.
"""

from collections.abc import Iterator, Sequence
import pathlib

from jaxtyping import Int
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dicm_jax import errors
from dicm_jax.data import click_log, files, number_checks
from dicm_jax.data import schema as schema_lib

ROWS, NUMBERS = pa.int32(), pa.float32()
"""What rows of tables and numbers are stored as."""


class Parts:
  """The shards of a split, read column by column and part by part.

  So the memory at the peak is the result's and a column's, and a column may
  hold more values than one Arrow array.

  Raises:
    InputError: there are none; and each method, where a file is damaged, lacks
      the column, or holds others than the column's values.
  """

  def __init__(self, folder: pathlib.Path):
    self._folder = folder
    self._paths = sorted(folder.glob("part-*.parquet"))
    if not self._paths:
      raise errors.InputError(f"{folder}: expected part-*.parquet, found none")
    self._names = files.column_names(self._paths[0])

  def chunks(
    self,
    name: str,
    kind: pa.DataType,
    rule: number_checks.Rule | None = None,
  ) -> Iterator[pa.Array]:
    """A column as it is stored.

    Args:
      name: of the column.
      kind: of the values, lists where it has lists.
      rule: what its numbers must be like.
    """
    for path in self._paths:
      column = files.read_column(path, name)
      if column.type != kind:
        raise errors.InputError(
          f"{path}: column {name!r}: expected {kind}, found {column.type}"
        )
      if rule:
        number_checks.check(path, name, column, rule)
      for chunk in column.chunks:
        if _nulls(chunk):
          raise errors.InputError(
            f"{path}: column {name!r}: expected no value to be missing"
          )
        yield chunk

  def values(
    self,
    name: str,
    kind: pa.DataType,
    count: int,
    rule: number_checks.Rule | None = None,
  ) -> np.ndarray:
    """All values of a column, whatever lists they are in.

    Args:
      name: of the column.
      kind: as of `chunks`.
      count: how many values there are.
      rule: as of `chunks`.
    """
    found = _joined([_flat(chunk) for chunk in self.chunks(name, kind, rule)])
    if len(found) != count:
      raise errors.InputError(
        f"{self._folder}: column {name!r}: expected {count} values, found "
        f"{len(found)}"
      )
    return found

  def rows(self, name: str, most: int, count: int) -> Int[np.ndarray, " count"]:
    """A row for each sample, of a table of `most` rows."""
    rule = number_checks.row_below(most)
    return self.values(name, pa.list_(ROWS), count, rule)

  def lists(self, name: str, most: int, depth: int = 0) -> click_log.Jagged:
    """Lists of rows, one a group; at depth 1 those within, one a sample.

    Args:
      name: of the column.
      most: rows of the table.
      depth: 0 or 1.
    """
    found = self._lists(name, ROWS, number_checks.row_below(most), depth)
    weights = schema_lib.weight_column(name)
    if weights not in self._names:
      return found
    given = self._lists(weights, NUMBERS, number_checks.FINITE, depth)
    if not np.array_equal(given.offsets, found.offsets):
      raise errors.InputError(
        f"{self._folder}: column {weights!r}: expected a number for each value "
        f"of {name!r}"
      )
    return found._replace(weights=given.values)

  def labels(self) -> click_log.Jagged:
    """Label of each sample, 0 or 1, in a list for each group."""
    found = self._lists("label", NUMBERS, number_checks.LABEL)
    if not found.lengths.all():
      raise errors.InputError(
        f"{self._folder}: column 'label': expected a sample in each group"
      )
    return found

  def codes(self, name: str) -> Int[np.ndarray, " G"]:
    """Number of each string among all that occur, in order."""
    return codes(list(self.chunks(name, pa.string())))[1]

  def _lists(
    self,
    name: str,
    kind: pa.DataType,
    rule: number_checks.Rule,
    depth: int = 0,
  ) -> click_log.Jagged:
    kind = pa.list_(kind)
    values, lengths = [], []
    for chunk in self.chunks(name, pa.list_(kind) if depth else kind, rule):
      inner = chunk.flatten() if depth else chunk
      values.append(_flat(inner))
      lengths.append(inner.value_lengths().to_numpy())
    return click_log.Jagged(_joined(values), offsets_of(lengths))


def codes(texts: list[pa.Array]) -> tuple[pa.Array, Int[np.ndarray, " n"]]:
  """The distinct strings in order, and the place of each one there."""
  found = pa.chunked_array(texts, pa.string())
  encoded = found.dictionary_encode().unify_dictionaries()
  if not encoded.num_chunks:
    return pa.array([], pa.string()), np.zeros(0, np.int32)
  distinct = encoded.chunk(0).dictionary
  order = pc.call_function("sort_indices", [distinct])
  rank = np.empty(len(order), np.int32)
  rank[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
  code = np.concatenate([rank[c.indices.to_numpy()] for c in encoded.chunks])
  return distinct.take(order), code


def _nulls(column: pa.Array) -> int:
  """Missing values, missing lists among them."""
  count = column.null_count
  while pa.types.is_list(column.type):
    column = column.flatten()
    count += column.null_count
  return count


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
  return np.concatenate(parts) if parts else np.zeros(0, np.int32)


def _flat(column: pa.Array) -> np.ndarray:
  return number_checks.flat(column).to_numpy(zero_copy_only=False)


def offsets_of(lengths: Sequence[np.ndarray]) -> np.ndarray:
  """Where each list begins, and the end of all: int32 where that is enough.

  >>> offsets_of([np.array([2, 1]), np.array([4])]).tolist()
  [0, 2, 3, 7]
  """
  total = sum(int(part.sum(dtype=np.int64)) for part in lengths)
  dtype = np.int32 if total < 2**31 else np.int64
  out = np.zeros(1 + sum(map(len, lengths)), dtype)
  np.concatenate([out[:1], *lengths], out=out, casting="same_kind")
  return np.cumsum(out, dtype=dtype, out=out)
