"""From raw ids, which are strings, to rows of a table.

Row 0 stands for what is missing or unknown. A learned vocabulary gives the
ids seen often enough rows 1, 2, ... by falling count, so that neighbouring
rows are equally hot; a hashed one needs no list and lets ids collide.
"""

from collections.abc import Iterable
import hashlib
import pathlib

from jaxtyping import Int, UInt64
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dicm_jax import errors

MAX_VALUES = 10_000_000
"""Distinct values of a learned vocabulary: bounds the memory of counting."""

COUNTS = pa.schema([("value", pa.string()), ("count", pa.int64())])


def hash64(values: pa.Array) -> UInt64[np.ndarray, " n"]:
  """First 8 bytes of BLAKE2b of each string in UTF-8; null counts as "".

  The same on every machine and in every version, as partitions and hashed
  rows must be.
  """
  encoded = values.dictionary_encode()
  hashed = [_hash(text) for text in encoded.dictionary.to_pylist()]
  table = np.array([*hashed, _hash("")], np.uint64)
  return table[encoded.indices.fill_null(len(hashed)).to_numpy()]


def _hash(text: str) -> int:
  digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
  return int.from_bytes(digest, "little")


def count(values: pa.Array | pa.ChunkedArray) -> pa.Table:
  """How often each string occurs; lists count value by value.

  Returns:
    A table as `COUNTS`, in order of the values; nulls are left out.
  """
  if isinstance(values, pa.ChunkedArray):
    values = values.combine_chunks()
  if pa.types.is_list(values.type):
    values = values.flatten()
  found = values.drop_null().value_counts()
  table = pa.table([found.field(0), found.field(1)], COUNTS)
  return table.sort_by("value")


def merge(counts: Iterable[pa.Table]) -> pa.Table:
  """Adds counts up.

  Returns:
    A table as `COUNTS`, in order of the values.
  """
  total = pa.concat_tables([COUNTS.empty_table(), *counts])
  summed = total.group_by("value").aggregate([("count", "sum")])
  summed = summed.rename_columns({"count_sum": "count"})
  return summed.select(COUNTS.names).sort_by("value")


def learn(counts: pa.Table, min_count: int, feature: str) -> pa.Table:
  """The values that get a row, the most frequent first, ties by value.

  Args:
    counts: a table as `COUNTS`.
    min_count: values seen less often are left out.
    feature: what error messages call it.

  Raises:
    InputError: there are more than MAX_VALUES.
  """
  kept = counts.filter(pc.field("count") >= min_count)
  if len(kept) > MAX_VALUES:
    raise errors.InputError(
      f"feature {feature!r}: expected a vocabulary of at most {MAX_VALUES:,} "
      f"values, found {len(kept):,}. Raise min_count, or take vocabulary = "
      '"hash" with a number of buckets'
    )
  return kept.sort_by([("count", "descending"), ("value", "ascending")])


def rows_of(values: pa.Array, vocabulary: pa.Array) -> Int[np.ndarray, " n"]:
  """1 + the place of each value in the vocabulary; 0 where it is not there."""
  found = pc.call_function(
    "index_in", [values], pc.SetLookupOptions(vocabulary, skip_nulls=True)
  )
  return found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32) + 1


def hashed_rows(values: pa.Array, buckets: int) -> Int[np.ndarray, " n"]:
  """1 + hash modulo buckets; 0 where the value is missing."""
  rows = (hash64(values) % np.uint64(buckets)).astype(np.int32) + 1
  missing = values.is_null().to_numpy(zero_copy_only=False)
  return np.where(missing, np.int32(0), rows)


def write(path: pathlib.Path, vocabulary: pa.Table) -> None:
  """Writes value and count as Parquet, line i for row i + 1."""
  pq.write_table(vocabulary, path)


def read(path: pathlib.Path) -> pa.Array:
  """The values of a vocabulary file, value i for row i + 1."""
  return pq.read_table(path, columns=["value"])["value"].combine_chunks()
