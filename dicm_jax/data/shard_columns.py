"""The shards of a split, read column by column."""

from collections.abc import Iterator, Sequence
import pathlib

from jaxtyping import Int
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dicm_jax import errors
from dicm_jax.data import click_log, number_checks
from dicm_jax.data import schema as schema_lib


class Parts:
  """The shards of a split, read column by column and part by part.

  So the memory at the peak is the result's and a column's, and a column may
  hold more values than one Arrow array.
  """

  def __init__(self, folder: pathlib.Path):
    self._folder = folder
    self._paths = sorted(folder.glob("part-*.parquet"))
    self._names = pq.read_schema(self._paths[0]).names

  def chunks(
    self, name: str, rule: number_checks.Rule | None = None
  ) -> Iterator[pa.Array]:
    for path in self._paths:
      column = _column(path, name)
      if rule:
        number_checks.check(path, name, column, rule)
      yield from column.chunks

  def values(
    self, name: str, rule: number_checks.Rule, count: int
  ) -> np.ndarray:
    """All values of a column, whatever lists they are in; so many."""
    values = _joined([_flat(chunk) for chunk in self.chunks(name, rule)])
    self._check_count(name, len(values), count)
    return values

  def lists(
    self, name: str, rule: number_checks.Rule, depth: int = 0
  ) -> click_log.Jagged:
    """A column of lists, one a group; at depth 1 those within, one a sample."""
    values, lengths = [], []
    for chunk in self.chunks(name, rule):
      inner = chunk.flatten() if depth else chunk
      values.append(_flat(inner))
      lengths.append(inner.value_lengths().to_numpy())
    rows, weights = _joined(values), schema_lib.weight_column(name)
    return click_log.Jagged(
      rows,
      offsets_of(lengths),
      self.values(weights, number_checks.FINITE, len(rows))
      if weights in self._names
      else None,
    )

  def inner_lists(
    self, name: str, rule: number_checks.Rule, count: int
  ) -> click_log.Jagged:
    found = self.lists(name, rule, depth=1)
    self._check_count(name, len(found.offsets) - 1, count)
    return found

  def codes(self, name: str) -> np.ndarray:
    """Number of each string among all that occur, in order."""
    return codes(list(self.chunks(name)))[1]

  def _check_count(self, name: str, found: int, expected: int) -> None:
    if found != expected:
      raise errors.InputError(
        f"{self._folder}: column {name!r}: expected {expected} values, as its "
        f"other columns say; found {found}"
      )


def _column(path: pathlib.Path, name: str) -> pa.ChunkedArray:
  try:
    return pq.read_table(path, columns=[name])[name]
  except (OSError, KeyError, pa.ArrowException) as e:
    raise errors.InputError(
      f"{path}: column {name!r} cannot be read; prepare the data again: {e}"
    ) from e


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
