"""Raw values of a column as text, numbers, times and lists.

A raw column holds single values (text, numbers, times), lists of them, or, from
JSON lines, both: `MIXED`.
"""

import datetime
import math

from jaxtyping import Bool, Float, Int
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

MIXED = pa.struct(
  [pa.field("one", pa.string()), pa.field("many", pa.list_(pa.string()))]
)
"""A column whose rows hold a single value or a list; one of both is null."""


def parts(values: pa.Array) -> tuple[pa.Array, pa.Array | None]:
  """Single values, and lists; null in a row that holds the other."""
  if values.type == MIXED:
    return values.field("one"), values.field("many")
  if is_list(values.type):
    ones = pa.nulls(len(values), pa.string())
    return ones, values.cast(pa.list_(values.type.value_type))
  return values, None


def is_list(kind: pa.DataType) -> bool:
  return (
    pa.types.is_list(kind)
    or pa.types.is_large_list(kind)
    or pa.types.is_fixed_size_list(kind)
  )


def is_null(values: pa.Array) -> Bool[np.ndarray, " n"]:
  return values.is_null().to_numpy(zero_copy_only=False)


def as_text(values: pa.Array) -> pa.Array:
  """Single values as text; empty text is null.

  Whole numbers have no decimal point, whatever type a file keeps them in: an
  id column with gaps is often one of floats.
  """
  kind = values.type
  if pa.types.is_dictionary(kind):
    return as_text(values.dictionary_decode())
  if pa.types.is_floating(kind):
    numbers = values.to_numpy(zero_copy_only=False)
    whole = np.isfinite(numbers) & (numbers == np.rint(numbers))
    texts = [
      None if v != v else str(int(v)) if w else repr(v)
      for v, w in zip(numbers.tolist(), whole.tolist(), strict=True)
    ]
    return pa.array(texts, pa.string())
  text = values.cast(pa.string())
  empty = pc.call_function("equal", [text, ""])
  return pc.call_function("if_else", [empty, None, text]).cast(pa.string())


def only(values: pa.Array) -> tuple[pa.Array, Bool[np.ndarray, " n"]]:
  """Text of each row, also out of a list of one; where lists are longer."""
  ones, many = parts(values)
  text = as_text(ones)
  if many is None:
    return text, np.zeros(len(text), bool)
  texts = _without_nulls(many)
  lengths = texts.value_lengths().to_numpy()
  starts = np.cumsum(lengths) - lengths
  first = texts.flatten().take(pa.array(starts, mask=lengths != 1))
  return pc.call_function("coalesce", [text, first]), lengths > 1


def lists(values: pa.Array, separator: str) -> pa.Array:
  """Lists of text, without empty values; a missing list is empty."""
  ones, many = parts(values)
  if many is None:
    return _split(ones, separator)
  made = _without_nulls(many)
  return (
    made
    if ones.null_count == len(ones)
    else _both(_split(ones, separator), made)
  )


def _split(values: pa.Array, separator: str) -> pa.Array:
  text = as_text(values).fill_null("")
  split = pc.call_function(
    "split_pattern", [text], pc.SplitPatternOptions(separator)
  )
  lengths = split.value_lengths().to_numpy()
  trimmed = pc.call_function("utf8_trim_whitespace", [split.flatten()])
  return _nested(as_text(trimmed), lengths)


def _without_nulls(many: pa.Array) -> pa.Array:
  lengths = many.value_lengths().fill_null(0).to_numpy()
  return _nested(as_text(many.flatten()), lengths)


def _both(a: pa.Array, b: pa.Array) -> pa.Array:
  """Rows of a where they have values, else of b."""
  lengths = [x.value_lengths().to_numpy() for x in (a, b)]
  row = np.concatenate([np.repeat(np.arange(len(a)), n) for n in lengths])
  flat = pa.concat_arrays([a.flatten(), b.flatten()])
  order = np.argsort(row, kind="stable")
  return _nested(flat.take(pa.array(order)), lengths[0] + lengths[1])


def _nested(values: pa.Array, lengths: Int[np.ndarray, " n"]) -> pa.Array:
  """Lists of the given lengths, nulls among their values left out."""
  there = ~is_null(values)
  ends = np.concatenate([[0], np.cumsum(lengths)])
  offsets = np.concatenate([[0], np.cumsum(there)])[ends].astype(np.int32)
  return pa.ListArray.from_arrays(pa.array(offsets), values.drop_null())


def words(values: pa.Array) -> pa.Array:
  """Lower-case words: runs of letters and digits of any script."""
  ones, many = parts(values)
  text = as_text(ones)
  if many is not None:
    joined = pc.call_function("binary_join", [_without_nulls(many), " "])
    text = pc.call_function("coalesce", [text, joined])
  lower = pc.call_function("utf8_lower", [text.fill_null("")])
  split = pc.call_function(
    "split_pattern_regex",
    [lower],
    pc.SplitPatternOptions(r"[^\p{L}\p{N}]+"),
  )
  return _nested(as_text(split.flatten()), split.value_lengths().to_numpy())


def numbers(values: pa.Array) -> Float[np.ndarray, " n"]:
  """Single values as numbers; NaN where there is none."""
  if pa.types.is_boolean(values.type):
    values = values.cast(pa.int8())
  try:
    found = values.cast(pa.float64())
  except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
    parsed = [number(value) for value in values.to_pylist()]
    return np.array(parsed, np.float64)
  return found.fill_null(math.nan).to_numpy(zero_copy_only=False)


def number(value) -> float:
  """A number; NaN if it is none."""
  if isinstance(value, str) and "_" in value:  # Python would read 1_000.
    return math.nan
  try:
    return float(value)
  except (TypeError, ValueError):
    return math.nan


def booleans(values: pa.Array) -> pa.Array:
  """Text "true" and "false" as 1 and 0; all else as it is."""
  if not pa.types.is_string(values.type):
    return values
  lower = pc.call_function("utf8_lower", [values])
  for text, digit in (("true", "1"), ("false", "0")):
    same = pc.call_function("equal", [lower, text])
    values = pc.call_function("if_else", [same, digit, values])
  return values


def iso(text) -> int | None:
  """Milliseconds since 1970 of an ISO date or time; None if it is none."""
  try:
    found = datetime.datetime.fromisoformat(text)
    if found.tzinfo is None:
      found = found.replace(tzinfo=datetime.UTC)
    return round(found.timestamp() * 1000)
  except (TypeError, ValueError, OverflowError):
    return None
