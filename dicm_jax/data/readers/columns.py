"""Raw columns of a log to the columns that the schema asks for."""

import datetime
import math
import pathlib
from typing import NamedTuple

from jaxtyping import Bool, Float, Int
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dicm_jax.data import schema as schema_lib
from dicm_jax.data import source
from dicm_jax.data.readers import pictures

_SUFFIXES = "|".join(s.removeprefix(".") for s in pictures.SUFFIXES)
_MS = {"s": 1000.0, "ms": 1.0, "us": 0.001}


class Found(NamedTuple):
  """A column made, and what is wrong with it."""

  values: pa.Array
  wrong: Bool[np.ndarray, " n"]
  expected: str
  raw: pa.Array
  """What the file said, for messages."""


def of_events(schema: schema_lib.Schema) -> tuple[str, ...]:
  """Columns of the log that blocks of events are made of."""
  log = schema.log
  names = [log.label, log.user, log.time, log.group, log.dwell]
  if schema.split.rule == "column":
    names.append(schema.split.column)
  if schema.items:
    names.append(schema.items.key)
  names += [f.column for f in _own(schema)]
  return tuple(dict.fromkeys(name for name in names if name))


def of_items(schema: schema_lib.Schema) -> tuple[str, ...]:
  """Columns of the item table."""
  assert schema.items is not None
  names = [schema.items.key]
  names += [f.column for f in schema.feature if f.name in schema.in_items]
  return tuple(dict.fromkeys(names))


def _own(schema: schema_lib.Schema) -> list[schema_lib.Field]:
  return [f for f in schema.feature if f.name not in schema.in_items]


def events(
  raw: pa.Table,
  lines: Int[np.ndarray, " n"],
  schema: schema_lib.Schema,
  bad: source.Bad,
  path: pathlib.Path,
) -> pa.Table:
  """Makes a block of events; wrong rows are reported and left out.

  Args:
    raw: columns as the file has them: text, numbers, times or lists.
    lines: line of each row, for messages and the order of ties.
    schema: of the log.
    bad: is told of wrong rows.
    path: of the file.
  """
  log = schema.log
  made: dict[str, tuple[str, Found]] = {
    "label": (log.label, _label(_column(raw, log.label), log.positive_from)),
    "user": (log.user, _required(as_text(_column(raw, log.user)))),
    "time": (log.time, _time(_column(raw, log.time), log.time_unit)),
  }
  if log.group:
    made["group"] = (log.group, _required(as_text(_column(raw, log.group))))
  if log.dwell:
    made["dwell"] = (log.dwell, _dwell(_column(raw, log.dwell)))
  if schema.split.rule == "column":
    texts = as_text(_column(raw, schema.split.column)).fill_null("")
    flags = pc.call_function("equal", [texts, schema.split.test_value])
    made["test"] = (schema.split.column, _right(flags))
  if schema.items:
    key = schema.items.key
    made["item"] = (key, _required(as_text(_column(raw, key))))
  made |= _features(raw, _own(schema))
  made["line"] = ("line", _right(pa.array(lines)))
  return _kept(made, lines, schema_lib.block_schema(schema), bad, path)


def items(
  raw: pa.Table,
  lines: Int[np.ndarray, " n"],
  schema: schema_lib.Schema,
  bad: source.Bad,
  path: pathlib.Path,
) -> pa.Table:
  """Makes lines of the item table; see `events`."""
  assert schema.items is not None
  key = schema.items.key
  made = {"item": (key, _required(as_text(_column(raw, key))))}
  made |= _features(
    raw, [f for f in schema.feature if f.name in schema.in_items]
  )
  return _kept(made, lines, schema_lib.items_schema(schema), bad, path)


def _column(raw: pa.Table, name: str) -> pa.Array:
  return raw[name].combine_chunks()


def _kept(made, lines, wanted: pa.Schema, bad: source.Bad, path) -> pa.Table:
  """The columns without the rows that have something wrong."""
  wrong = np.zeros(len(lines), bool)
  for column, found in made.values():
    for row in np.flatnonzero(found.wrong & ~wrong).tolist():
      value = found.raw[row].as_py()
      bad.report(
        path,
        int(lines[row]),
        f"field {column!r}: expected {found.expected}, found {value!r}",
      )
    wrong |= found.wrong
  arrays = [made[name][1].values for name in wanted.names]
  table = pa.table(arrays, names=wanted.names).cast(wanted)
  return table if not wrong.any() else table.filter(pa.array(~wrong))


def _right(values: pa.Array) -> Found:
  return Found(values, np.zeros(len(values), bool), "", values)


def _required(text: pa.Array) -> Found:
  return Found(text, _is_null(text), "a value", text)


def _is_null(values: pa.Array) -> Bool[np.ndarray, " n"]:
  return values.is_null().to_numpy(zero_copy_only=False)


def as_text(values: pa.Array) -> pa.Array:
  """Any single-valued column as text; empty text is null.

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


def _numbers(values: pa.Array) -> Float[np.ndarray, " n"]:
  """Any single-valued column as numbers; NaN where there is none."""
  if pa.types.is_dictionary(values.type):
    return _numbers(values.dictionary_decode())
  if pa.types.is_boolean(values.type):
    values = values.cast(pa.int8())
  try:
    numbers = values.cast(pa.float64())
  except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
    parsed = [_number(value) for value in values.to_pylist()]
    return np.array(parsed, np.float64)
  return numbers.fill_null(math.nan).to_numpy(zero_copy_only=False)


def _number(value) -> float:
  try:
    return float(value)
  except (TypeError, ValueError):
    return math.nan


def _label(values: pa.Array, positive_from: float) -> Found:
  numbers = _numbers(_booleans(values))
  if math.isnan(positive_from):
    wrong = ~np.isin(numbers, (0.0, 1.0))
    labels, expected = np.where(wrong, 0, numbers), "0 or 1"
  else:
    wrong = ~np.isfinite(numbers)
    labels, expected = numbers >= positive_from, "a number"
  return Found(pa.array(labels.astype(np.float32)), wrong, expected, values)


def _booleans(values: pa.Array) -> pa.Array:
  """Text "true" and "false" as 1 and 0; all else as it is."""
  if not pa.types.is_string(values.type):
    return values
  lower = pc.call_function("utf8_lower", [values])
  for text, number in (("true", "1"), ("false", "0")):
    same = pc.call_function("equal", [lower, text])
    values = pc.call_function("if_else", [same, number, values])
  return values


def _dwell(values: pa.Array) -> Found:
  """Seconds; a missing one counts as none."""
  numbers = _numbers(values)
  wrong = ~np.isfinite(numbers) & ~_is_null(as_text(values)) | (numbers < 0)
  seconds = np.nan_to_num(numbers).astype(np.float32)
  return Found(pa.array(seconds), wrong, "seconds, >= 0", values)


def _time(values: pa.Array, unit: str) -> Found:
  """Milliseconds since 1970."""
  if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
    times = values.cast(pa.timestamp("ms"), safe=False).cast(pa.int64())
    return Found(times.fill_null(0), _is_null(times), "a time", values)
  if unit == "iso":
    parsed = [_iso(value) for value in values.to_pylist()]
    times = pa.array(parsed, pa.int64())
    expected = "an ISO date or time such as 2026-01-31T12:00:00"
    return Found(times.fill_null(0), _is_null(times), expected, values)
  numbers = _numbers(values) * _MS[unit]
  wrong = ~(np.abs(numbers) < 2**53)
  times = np.rint(np.where(wrong, 0, numbers)).astype(np.int64)
  expected = f"a time in {unit} since 1970"
  return Found(pa.array(times), wrong, expected, values)


def _iso(text) -> int | None:
  try:
    found = datetime.datetime.fromisoformat(text)
  except (TypeError, ValueError):
    return None
  if found.tzinfo is None:
    found = found.replace(tzinfo=datetime.UTC)
  return round(found.timestamp() * 1000)


def _features(
  raw: pa.Table, fields: list[schema_lib.Field]
) -> dict[str, tuple[str, Found]]:
  out = {}
  for field in fields:
    column = _column(raw, field.column)
    if field.weighted:
      values, weights = _weighted(column, field.separator)
      out[schema_lib.weight_column(field.name)] = field.column, weights
    elif field.kind == "id":
      values = _right(_single(column))
    elif field.kind == "image":
      values = _right(_bare(_single(column)))
    elif field.kind == "dense":
      values = _dense(column, field)
    elif field.kind == "text":
      values = _right(_words(_single(column)))
    else:
      lists = _lists(column, field.separator)
      if field.kind == "images":
        parts = _bare(lists.flatten())
        lists = pa.ListArray.from_arrays(lists.offsets, parts)
      values = _right(lists)
    out[field.name] = field.column, values
  return out


def _bare(text: pa.Array) -> pa.Array:
  """File names as picture keys: no folders, no suffix of a picture."""
  for pattern in (r"^.*/", rf"(?i)\.({_SUFFIXES})$"):
    options = pc.ReplaceSubstringOptions(pattern, "")
    text = pc.call_function("replace_substring_regex", [text], options)
  return text


def _is_list(values: pa.Array) -> bool:
  kind = values.type
  return (
    pa.types.is_list(kind)
    or pa.types.is_large_list(kind)
    or pa.types.is_fixed_size_list(kind)
  )


def _single(values: pa.Array) -> pa.Array:
  """Text of a column that may hold lists: the first value of each."""
  if not _is_list(values):
    return as_text(values)
  lists = _lists(values, "")
  lengths = lists.value_lengths().fill_null(0).to_numpy()
  starts = np.cumsum(lengths) - lengths
  texts = lists.flatten().to_pylist()
  return pa.array(
    [texts[s] if n else None for s, n in zip(starts, lengths, strict=True)],
    pa.string(),
  )


def _lists(values: pa.Array, separator: str) -> pa.Array:
  """Lists of text, without empty values; a missing list is empty."""
  if _is_list(values):
    lists = values.cast(pa.list_(values.type.value_type))
    lengths = lists.value_lengths().fill_null(0).to_numpy()
    parts = as_text(lists.flatten())
  else:
    text = as_text(values).fill_null("")
    split = pc.call_function(
      "split_pattern", [text], pc.SplitPatternOptions(separator)
    )
    lengths = split.value_lengths().to_numpy()
    parts = as_text(pc.call_function("utf8_trim_whitespace", [split.flatten()]))
  return _nested(parts, lengths)


def _nested(parts: pa.Array, lengths) -> pa.Array:
  """Lists of the given lengths, nulls among their values left out."""
  there = ~_is_null(parts)
  ends = np.concatenate([[0], np.cumsum(lengths)])
  offsets = np.concatenate([[0], np.cumsum(there)])[ends].astype(np.int32)
  return pa.ListArray.from_arrays(pa.array(offsets), parts.drop_null())


def _words(text: pa.Array) -> pa.Array:
  """Lower-case words: runs of letters and digits of any script."""
  lower = pc.call_function("utf8_lower", [text.fill_null("")])
  split = pc.call_function(
    "split_pattern_regex",
    [lower],
    pc.SplitPatternOptions(r"[^\p{L}\p{N}]+"),
  )
  return _nested(as_text(split.flatten()), split.value_lengths().to_numpy())


def _weighted(values: pa.Array, separator: str) -> tuple[Found, Found]:
  """Ids and their weights from `id` and `id:weight`."""
  lists = _lists(values, separator)
  lengths = lists.value_lengths().to_numpy()
  texts = lists.flatten()
  parts = [text.rpartition(":") for text in texts.to_pylist()]
  ids = [head or tail for head, _, tail in parts]
  weights = np.array(
    [_number(tail) if head else 1.0 for head, _, tail in parts], np.float64
  )
  of_row = np.repeat(np.arange(len(lengths)), lengths)
  wrong = np.zeros(len(lengths), bool)
  wrong[of_row[~np.isfinite(weights)]] = True
  offsets = lists.offsets
  expected = "values `id` or `id:weight`"
  numbers = pa.array(np.nan_to_num(weights).astype(np.float32))
  return (
    Found(
      pa.ListArray.from_arrays(offsets, pa.array(ids, pa.string())),
      wrong,
      expected,
      values,
    ),
    _right(pa.ListArray.from_arrays(offsets, numbers)),
  )


def _dense(values: pa.Array, field: schema_lib.Field) -> Found:
  """Lists of `width` numbers; a missing value is an empty list."""
  if _is_list(values) or field.width > 1:
    lists = _lists(values, field.separator)
    lengths = lists.value_lengths().to_numpy()
    numbers = _numbers(lists.flatten())
  else:
    text = as_text(values)
    lengths = (~_is_null(text)).astype(np.int64)
    numbers = _numbers(text.drop_null())
  wrong = (lengths != field.width) & (lengths != 0)
  of_row = np.repeat(np.arange(len(lengths)), lengths)
  wrong[of_row[~np.isfinite(numbers)]] = True
  offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
  made = pa.ListArray.from_arrays(
    pa.array(offsets), pa.array(numbers.astype(np.float32))
  )
  many = "a number" if field.width == 1 else f"{field.width} numbers"
  return Found(made, wrong, many, values)
