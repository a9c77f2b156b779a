"""Finding strings in a long list, again and again.

The list is hashed once; each question then costs a search among sorted numbers
and a comparison of the strings themselves, so the answer is exact.
"""

from jaxtyping import Int, UInt64
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_BLOCK = 1 << 17
"""Strings that are hashed at a time: each of their bytes takes some 30."""
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""Odd, so that no byte's weight vanishes: 2^64 divided by the golden ratio."""


class Lookup:
  """Places of strings in a list without repeats.

  Args:
    values: the list; null is never found.
  """

  def __init__(self, values: pa.Array):
    self._values = values
    hashes = _hashes(values)
    self._order = np.argsort(hashes, kind="stable").astype(np.int32)
    self._sorted = hashes[self._order]
    self._unique = not (self._sorted[1:] == self._sorted[:-1]).any()

  def __len__(self) -> int:
    return len(self._values)

  def rows(self, values: pa.Array) -> Int[np.ndarray, " n"]:
    """1 + the place of each value; 0 where it is not in the list."""
    if not len(self):
      return np.zeros(len(values), np.int32)
    if not self._unique:  # Two strings of one hash: the plain, slow way.
      return rows_of(values, self._values)
    encoded = values.dictionary_encode()
    of_distinct = np.append(self._rows(encoded.dictionary), np.int32(0))
    missing = len(of_distinct) - 1
    return of_distinct[encoded.indices.fill_null(missing).to_numpy()]

  def _rows(self, values: pa.Array) -> Int[np.ndarray, " n"]:
    hashes = _hashes(values)
    order = np.argsort(hashes)  # Neighbours in memory: a tenth of the time.
    place = np.empty(len(values), np.int64)
    place[order] = np.searchsorted(self._sorted, hashes[order])
    found = self._order[np.minimum(place, len(self) - 1)]
    same = pc.call_function("equal", [self._values.take(found), values])
    same = same.fill_null(False).to_numpy(zero_copy_only=False)
    return np.where(same, found + 1, 0).astype(np.int32)


def rows_of(values: pa.Array, known: pa.Array) -> Int[np.ndarray, " n"]:
  """As `Lookup.rows`, for a list that is asked once."""
  found = pc.call_function(
    "index_in", [values], pc.SetLookupOptions(known, skip_nulls=True)
  )
  return found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32) + 1


def _hashes(values: pa.Array) -> UInt64[np.ndarray, " n"]:
  blocks = [
    _hashed(values.slice(start, _BLOCK))
    for start in range(0, len(values), _BLOCK)
  ]
  return np.concatenate([np.zeros(0, np.uint64), *blocks])


def _hashed(values: pa.Array) -> UInt64[np.ndarray, " n"]:
  """Sum of byte times power of the multiplier, modulo 2^64; length as well."""
  binary = values.fill_null("").cast(pa.large_string())
  _, offsets, data = binary.buffers()
  ends = np.frombuffer(offsets, np.int64)
  ends = ends[binary.offset : binary.offset + len(binary) + 1]
  codes = np.frombuffer(data or b"", np.uint8)[ends[0] : ends[-1]]
  ends = ends - ends[0]
  lengths = np.diff(ends)
  within = np.arange(len(codes)) - np.repeat(ends[:-1], lengths)
  powers = np.cumprod(np.full(lengths.max(initial=0) + 1, _MULTIPLIER))
  terms = (codes.astype(np.uint64) + np.uint64(1)) * powers[within]
  sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(terms)])
  return sums[ends[1:]] - sums[ends[:-1]]
