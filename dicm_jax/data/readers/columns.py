"""Raw columns of a log to the columns that the schema asks for."""

from collections.abc import Callable, Iterator
import contextlib
import functools
import math
import pathlib
from typing import NamedTuple

from jaxtyping import Bool, Int
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dicm_jax import errors
from dicm_jax.data import schema as schema_lib
from dicm_jax.data import source
from dicm_jax.data.readers import pictures, values

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
  names = [log.label, log.user, log.time, log.group, log.dwell, log.query]
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
    raw: columns as the file has them, see `values`.
    lines: line of each row, for messages and the order of ties.
    schema: of the log; without a column of labels every row is a click.
    bad: is told of wrong rows.
    path: of the file.
  """
  log, split = schema.log, schema.split
  ones = pa.array(np.ones(len(raw), np.float32))
  single = functools.partial(_single, path, raw)
  made: dict[str, tuple[str, Found]] = {
    "label": (log.label, _right(ones)),
    "user": (log.user, single(log.user, _required)),
    "time": (log.time, single(log.time, lambda c: _time(c, log))),
    "line": ("line", _right(pa.array(lines))),
  }
  if log.label:
    found = single(log.label, lambda c: _label(c, log.positive_from))
    made["label"] = log.label, found
  if log.group:
    made["group"] = log.group, single(log.group, _required)
  if log.dwell:
    made["dwell"] = log.dwell, single(log.dwell, _dwell)
  if log.query:
    made[schema_lib.QUERY] = log.query, single(log.query, _query)
  if split.rule == "column":
    found = single(split.column, lambda c: _same(c, split.test_value))
    made["test"] = split.column, found
  if schema.items:
    key = schema.items.key
    made["item"] = key, single(key, _required)
  made |= _features(path, raw, _own(schema))
  return _kept(made, lines, schema_lib.block_schema(schema), bad, path)


def items(
  raw: pa.Table,
  lines: Int[np.ndarray, " n"],
  schema: schema_lib.Schema,
  bad: source.Bad,
  path: pathlib.Path,
) -> pa.Table:
  """Makes rows of the item table and a column `line`; see `events`."""
  assert schema.items is not None
  key = schema.items.key
  single = functools.partial(_single, path, raw)
  made = {
    "item": (key, single(key, _required)),
    "line": ("line", _right(pa.array(lines))),
  }
  made |= _features(
    path, raw, [f for f in schema.feature if f.name in schema.in_items]
  )
  wanted = schema_lib.items_schema(schema)
  wanted = wanted.append(pa.field("line", pa.int64()))
  return _kept(made, lines, wanted, bad, path)


def titles(
  raw: pa.Table,
  lines: Int[np.ndarray, " n"],
  bad: source.Bad,
  path: pathlib.Path,
) -> pa.Table:
  """Makes image keys, as the log's are made, titles and a column `line`."""
  single = functools.partial(_single, path, raw)
  key = single("key", _required)
  made = {
    "key": ("key", key._replace(values=_bare(key.values))),
    "title": ("title", single("title", _text)),
    "line": ("line", _right(pa.array(lines))),
  }
  names = [("key", pa.string()), ("title", pa.string()), ("line", pa.int64())]
  return _kept(made, lines, pa.schema(names), bad, path)


@contextlib.contextmanager
def converting(
  path: pathlib.Path, name: str, kind: pa.DataType
) -> Iterator[None]:
  """Names file and column where a type is one that nothing makes text of.

  Raises:
    InputError: so it is, or a value is out of all range.
  """
  try:
    yield
  except errors.InputError:
    raise
  # A KeyError where Arrow knows no time zone of the name.
  except (pa.ArrowException, ValueError, KeyError, OverflowError) as e:
    raise errors.InputError(
      f"{path}: column {name!r}: expected values that can be written as text, "
      f"found {kind}: {e}"
    ) from e


def _column(raw: pa.Table, name: str) -> pa.Array:
  return raw[name].combine_chunks()


def _single(
  path: pathlib.Path,
  raw: pa.Table,
  name: str,
  make: Callable[[pa.Array], Found],
) -> Found:
  """What `make` makes of a column of single values; a list is wrong."""
  column = _column(raw, name)
  with converting(path, name, column.type):
    ones, many = values.parts(column)
    found = make(ones)
  if many is None:
    return found
  wrong = found.wrong | ~values.is_null(many)
  return found._replace(wrong=wrong, raw=column)


def _kept(made, lines, wanted: pa.Schema, bad: source.Bad, path) -> pa.Table:
  """The columns without the rows that have something wrong."""
  wrong = np.zeros(len(lines), bool)
  for _, found in made.values():
    wrong |= found.wrong
  for row in np.flatnonzero(wrong).tolist():
    column, found = next(f for f in made.values() if f[1].wrong[row])
    bad.report(
      path,
      int(lines[row]),
      f"field {column!r}: expected {found.expected}, found "
      f"{_shown(found.raw[row])}",
    )
  arrays = [made[name][1].values for name in wanted.names]
  table = pa.table(arrays, names=wanted.names).cast(wanted)
  return table if not wrong.any() else table.filter(pa.array(~wrong))


def _shown(scalar: pa.Scalar) -> str:
  try:
    value = scalar.as_py()
  except (ValueError, OverflowError, pa.ArrowException):  # A far date.
    return f"a {scalar.type} that cannot be shown"
  if isinstance(value, dict):  # Of `values.MIXED`.
    value = value["many"] if value["one"] is None else value["one"]
  text = repr(value)
  return text if len(text) <= 200 else f"{text[:200]}..."


def _right(column: pa.Array) -> Found:
  return Found(column, np.zeros(len(column), bool), "", column)


def _required(column: pa.Array) -> Found:
  text = values.as_text(column)
  return Found(text, values.is_null(text), "one value", text)


def _text(column: pa.Array) -> Found:
  """Text, empty where it is missing; numbers are none."""
  text = values.as_text(column).fill_null("")
  other = not pa.types.is_string(column.type)
  return Found(text, ~values.is_null(column) & other, "text", column)


def _same(column: pa.Array, value: str) -> Found:
  text = values.as_text(column).fill_null("")
  same = pc.call_function("equal", [text, value])
  return Found(same, np.zeros(len(same), bool), "one value", column)


def _label(column: pa.Array, positive_from: float) -> Found:
  numbers = values.numbers(values.booleans(column))
  if math.isnan(positive_from):
    wrong = ~np.isin(numbers, (0.0, 1.0))
    labels, expected = np.where(wrong, 0, numbers), "0 or 1"
  else:
    wrong = ~np.isfinite(numbers)
    labels, expected = numbers >= positive_from, "a number"
  return Found(pa.array(labels.astype(np.float32)), wrong, expected, column)


def _dwell(column: pa.Array) -> Found:
  """Seconds; a missing one counts as none."""
  numbers, finite = _float32(values.numbers(column))
  there = ~values.is_null(values.as_text(column))
  wrong = (~finite & there) | (numbers < 0)
  return Found(pa.array(numbers), wrong, "seconds, >= 0", column)


def _query(column: pa.Array) -> Found:
  """Text without blanks around it; null where nothing is left."""
  text = pc.call_function("utf8_trim_whitespace", [values.as_text(column)])
  return _right(values.as_text(text))


def _float32(numbers):
  """As float32, and which are finite; those that are not become 0."""
  with np.errstate(over="ignore"):
    found = numbers.astype(np.float32)
  finite = np.isfinite(found)
  return np.where(finite, found, np.float32(0)), finite


def _time(column: pa.Array, log: schema_lib.Log) -> Found:
  """Milliseconds since 1970."""
  if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
    times = column.cast(pa.timestamp("ms"), safe=False).cast(pa.int64())
    return Found(times.fill_null(0), values.is_null(times), "a time", column)
  if log.time_unit == "iso":
    parsed = [values.iso(value) for value in column.to_pylist()]
    times = pa.array(parsed, pa.int64())
    expected = "an ISO date or time such as 2026-01-31T12:00:00"
    return Found(times.fill_null(0), values.is_null(times), expected, column)
  numbers = values.numbers(column) * _MS[log.time_unit]
  wrong = ~(np.abs(numbers) < 2**53)
  times = np.rint(np.where(wrong, 0, numbers)).astype(np.int64)
  expected = f"a time in {log.time_unit} since 1970"
  return Found(pa.array(times), wrong, expected, column)


def _features(
  path: pathlib.Path, raw: pa.Table, fields: list[schema_lib.Field]
) -> dict[str, tuple[str, Found]]:
  out = {}
  for field in fields:
    column = _column(raw, field.column)
    with converting(path, field.column, column.type):
      made = _feature(column, field)
    out |= {name: (field.column, found) for name, found in made.items()}
  return out


def _feature(column: pa.Array, field: schema_lib.Field) -> dict[str, Found]:
  """A feature's column, and that of its weights."""
  if field.weighted:
    found, weights = _weighted(column, field.separator)
    return {schema_lib.weight_column(field.name): weights, field.name: found}
  if field.kind in ("id", "image"):
    text, wrong = values.only(column)
    text = _bare(text) if field.kind == "image" else text
    found = Found(text, wrong, "one value", column)
  elif field.kind == "dense":
    found = _dense(column, field)
  elif field.kind == "text":
    found = _right(values.words(column))
  else:
    lists = values.lists(column, field.separator)
    if field.kind == "images":
      parts = _bare(lists.flatten())
      lists = pa.ListArray.from_arrays(lists.offsets, parts)
    found = _right(lists)
  return {field.name: found}


def _bare(text: pa.Array) -> pa.Array:
  """File names as picture keys: no folders, no suffix of a picture."""
  for pattern in (r"^.*/", rf"(?i)\.({_SUFFIXES})$"):
    options = pc.ReplaceSubstringOptions(pattern, "")
    text = pc.call_function("replace_substring_regex", [text], options)
  return text


def _weighted(column: pa.Array, separator: str) -> tuple[Found, Found]:
  """Ids and their weights from `id` and `id:weight`."""
  lists = values.lists(column, separator)
  lengths = lists.value_lengths().to_numpy()
  parts = [text.rpartition(":") for text in lists.flatten().to_pylist()]
  ids = [head or tail for head, _, tail in parts]
  weights, finite = _float32(
    np.array(
      [values.number(tail) if colon else 1.0 for _, colon, tail in parts]
    )
  )
  right = finite & np.array([bool(head or not c) for head, c, _ in parts], bool)
  wrong = np.zeros(len(lengths), bool)
  wrong[np.repeat(np.arange(len(lengths)), lengths)[~right]] = True
  made = pa.ListArray.from_arrays(lists.offsets, pa.array(ids, pa.string()))
  return (
    Found(made, wrong, "values `id` or `id:weight`", column),
    _right(pa.ListArray.from_arrays(lists.offsets, pa.array(weights))),
  )


def _dense(column: pa.Array, field: schema_lib.Field) -> Found:
  """Lists of `width` numbers; a missing value is an empty list."""
  ones, many = values.parts(column)
  if many is not None or field.width > 1:
    lists = values.lists(column, field.separator)
    lengths = lists.value_lengths().to_numpy()
    numbers, finite = _float32(values.numbers(lists.flatten()))
  else:
    text = values.as_text(ones)
    lengths = (~values.is_null(text)).astype(np.int64)
    numbers, finite = _float32(values.numbers(text.drop_null()))
  wrong = (lengths != field.width) & (lengths != 0)
  of_row = np.repeat(np.arange(len(lengths)), lengths)
  wrong[of_row[~finite]] = True
  offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
  made = pa.ListArray.from_arrays(pa.array(offsets), pa.array(numbers))
  many_ = "a number" if field.width == 1 else f"{field.width} numbers"
  return Found(made, wrong, many_, column)
