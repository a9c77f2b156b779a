"""From raw ids, which are strings, to rows of a table.

Row 0 stands for what is missing or unknown. A learned vocabulary gives the
ids seen often enough rows 1, 2, ... by falling count, so that neighbouring
rows are equally hot; a hashed one needs no list and lets ids collide.
"""

from collections.abc import Iterable, Iterator, Sequence
import hashlib
import pathlib

from jaxtyping import Int, UInt64
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dicm_jax import errors

MAX_VALUES = 5_000_000
"""Values of a learned vocabulary, at most: bounds the memory of encoding."""
MERGE_VALUES = 4_000_000
"""Distinct values that are counted at a time: bounds the memory of counting."""

COUNTS = pa.schema([("value", pa.string()), ("count", pa.int64())])


def hash64(values: pa.Array) -> UInt64[np.ndarray, " n"]:
  """First 8 bytes of BLAKE2b of each string in UTF-8; null counts as "".

  The same on every machine and in every version, as partitions and hashed
  rows must be.
  """
  encoded = values.dictionary_encode()
  hashed = [hash_text(text) for text in encoded.dictionary.to_pylist()]
  table = np.array([*hashed, hash_text("")], np.uint64)
  return table[encoded.indices.fill_null(len(hashed)).to_numpy()]


def hash_text(text: str) -> int:
  """As `hash64`, of one string."""
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


def merge_files(
  paths: Sequence[pathlib.Path], low: str = "", high: str | None = None
) -> Iterator[pa.Table]:
  """Adds up counts in files, however many values they have together.

  Where the values of a range are too many to hold, it is cut in two and each
  half is read by itself.

  Args:
    paths: Parquet files of tables as `COUNTS`.
    low: the range begins with this value.
    high: it ends before this one; None: it takes all.

  Yields:
    Tables as `COUNTS`; end to end they are in order of the values.
  """
  total, waiting = COUNTS.empty_table(), []
  for number, path in enumerate(paths, start=1):
    waiting.append(_in_range(pq.read_table(path), low, high))
    # As many as are there already: each value is added up few times.
    few = sum(map(len, waiting)) < max(len(total), MERGE_VALUES // 4)
    if few and number < len(paths):
      continue
    total, waiting = merge([total, *waiting]), []
    if len(total) > MERGE_VALUES:
      middle = total["value"][len(total) // 2].as_py()
      del total
      yield from merge_files(paths, low, middle)
      yield from merge_files(paths, middle, high)
      return
  yield total


def _in_range(counts: pa.Table, low: str, high: str | None) -> pa.Table:
  inside = pc.field("value") >= low
  if high is not None:
    inside &= pc.field("value") < high
  elif not low:
    return counts
  return counts.filter(inside)


def learn(counts: Iterable[pa.Table], min_count: int, feature: str) -> pa.Table:
  """The values that get a row, the most frequent first, ties by value.

  Args:
    counts: tables as `COUNTS`, no value in two of them.
    min_count: values seen less often are left out.
    feature: what error messages call it.

  Raises:
    InputError: there are more than MAX_VALUES.
  """
  kept = [COUNTS.empty_table()]
  for part in counts:
    kept.append(part.filter(pc.field("count") >= min_count))
    found = sum(map(len, kept))
    if found > MAX_VALUES:
      raise errors.InputError(
        f"feature {feature!r}: expected a vocabulary of at most "
        f"{MAX_VALUES:,} values, found {found:,} or more. Raise min_count, or "
        'take vocabulary = "hash" with a number of buckets'
      )
  order = [("count", "descending"), ("value", "ascending")]
  return pa.concat_tables(kept).sort_by(order)


def hashed_rows(values: pa.Array, buckets: int) -> Int[np.ndarray, " n"]:
  """1 + hash modulo buckets; 0 where the value is missing."""
  rows = (hash64(values) % np.uint64(buckets) + np.uint64(1)).astype(np.int32)
  missing = values.is_null().to_numpy(zero_copy_only=False)
  return np.where(missing, np.int32(0), rows)


def read(path: pathlib.Path) -> pa.Array:
  """The values of a vocabulary file, value i for row i + 1."""
  return pq.read_table(path, columns=["value"])["value"].combine_chunks()
