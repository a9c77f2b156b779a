"""Sample text of the XDL CrossMedia example, the DICM authors' own format.

A line is `skey|group key|features|features|labels|timestamp`, with features
`name@value,value` between semicolons and a value `id`, `id:weight` or a number.
The first block of features is the user's, the second the ad's. Lines of one
group key stand together and share the user's features.
Source: https://github.com/alibaba/x-deeplearning, xdl-algorithm-solution,
CrossMedia.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import itertools
import logging
import math
import pathlib
from typing import Any

import pyarrow as pa

from dicm_jax import errors
from dicm_jax.data import schema as schema_lib
from dicm_jax.data import source

_log = logging.getLogger(__name__)

INFERRED_LINES = 1000
PARTS = 6
"""Fields between bars."""

Value = str | tuple[str, float] | float


class _Wrong(ValueError):
  """What is wrong with a line."""


@dataclasses.dataclass(frozen=True)
class Line:
  """One sample, as the file has it."""

  skey: str
  group: str
  user: Mapping[str, Sequence[Value]]
  """Values by feature: an id, (id, weight), or a number."""
  ad: Mapping[str, Sequence[Value]]
  labels: Sequence[float]
  time: int
  """Seconds since 1970."""


def read(
  path: pathlib.Path, schema: schema_lib.Schema, bad: source.Bad
) -> Iterator[pa.Table]:
  """Yields blocks of events; group key is both user and page view.

  Raises:
    InputError: the file cannot be read; or a line is wrong and `bad` says stop.
  """
  wanted = schema_lib.block_schema(schema)
  made: list[dict[str, Any]] = []
  for number, text, shared in _lines(path):
    try:
      made.append(_event(text, number, shared, schema))
    except _Wrong as e:
      bad.report(path, number, str(e))
    if len(made) == source.BLOCK_ROWS:
      yield pa.Table.from_pylist(made, wanted)
      made = []
  if made:
    yield pa.Table.from_pylist(made, wanted)


class _Shared:
  """The user's features of the group that the last good line belonged to."""

  def __init__(self):
    self.group: str | None = None
    self.text = ""
    self.values: dict[str, list[str]] = {}

  def of(self, group: str, text: str) -> dict[str, list[str]]:
    """A line's user features: a group's first line has them for all."""
    if group != self.group:
      return _features(text)
    if text and text != self.text:
      raise _Wrong(
        f"group {group!r}: expected the user features of the group's first "
        f"line, found others: {text[:60]!r}"
      )
    return self.values

  def keep(self, group: str, text: str, values: dict[str, list[str]]) -> None:
    """Remembers the first good line of a group."""
    if group != self.group:
      self.group, self.text, self.values = group, text, values


def _lines(path: pathlib.Path) -> Iterator[tuple[int, str, _Shared]]:
  shared = _Shared()
  try:
    with path.open(encoding="utf-8") as file:
      for number, line in enumerate(file, start=1):
        if line.strip():
          yield number, line.rstrip("\r\n"), shared
  except (OSError, UnicodeDecodeError) as e:
    raise errors.InputError(f"{path}: cannot be read: {e}") from e


def _event(
  text: str, number: int, shared: _Shared, schema: schema_lib.Schema
) -> dict[str, Any]:
  """A line as a row of a block."""
  _, group, user, ad, labels, time = _parts(text)
  of_user = shared.of(group, user)
  values = of_user | _features(ad)
  known = {f.column for f in schema.feature}
  for name in values:
    if name not in known:
      raise _Wrong(str(errors.unknown_name("feature", name, known)))
  event: dict[str, Any] = {
    "label": _label(labels, schema.log.positive_from),
    "user": group,
    "group": group,
    "time": _whole(time, "timestamp") * 1000,
    "line": number,
  }
  for field in schema.feature:
    event |= _columns(field, values.get(field.column, []))
  shared.keep(group, user, of_user)
  return event


def _parts(text: str) -> list[str]:
  parts = text.split("|")
  if len(parts) != PARTS:
    raise _Wrong(f"expected {PARTS} fields between '|', found {len(parts)}")
  for name, part in (("skey", parts[0]), ("group key", parts[1])):
    if not part:
      raise _Wrong(f"field {name!r}: expected a key, found nothing")
  return parts


def _features(text: str) -> dict[str, list[str]]:
  """Values of each feature between semicolons."""
  out: dict[str, list[str]] = {}
  for part in filter(None, text.split(";")):
    name, at, values = part.partition("@")
    if not at or not name:
      raise _Wrong(f"expected features as name@values, found {part!r}")
    if name in out:
      raise _Wrong(f"feature {name!r}: expected once, found twice")
    out[name] = values.split(",") if values else []
  return out


def _label(text: str, positive_from: float) -> float:
  number = _number(text.split(",")[0], "labels")
  if not math.isnan(positive_from):
    return float(number >= positive_from)
  if number not in (0.0, 1.0):
    raise _Wrong(f"field 'labels': expected 0 or 1, found {text!r}")
  return number


def _number(text: str, field: str) -> float:
  try:
    number = float(text)
  except ValueError as e:
    raise _Wrong(f"field {field!r}: expected a number, found {text!r}") from e
  if not math.isfinite(number):
    raise _Wrong(f"field {field!r}: expected a finite number, found {text!r}")
  return number


def _whole(text: str, field: str) -> int:
  try:
    return int(text)
  except ValueError as e:
    raise _Wrong(
      f"field {field!r}: expected a whole number, found {text!r}"
    ) from e


def _columns(field: schema_lib.Field, values: list[str]) -> dict[str, Any]:
  """A feature's columns of a row."""
  if field.kind == "dense":
    if values and len(values) != field.width:
      raise _Wrong(
        f"feature {field.column!r}: expected {field.width} numbers, found "
        f"{len(values)}"
      )
    numbers = [_number(v, field.column) for v in values]
    return {field.name: numbers}
  pairs = [_pair(value, field.column) for value in values]
  ids = [id_ for id_, _ in pairs]
  if field.kind in ("id", "image"):
    if len(ids) > 1:
      raise _Wrong(f"feature {field.column!r}: expected 1 id, found {len(ids)}")
    return {field.name: ids[0] if ids else None}
  out: dict[str, Any] = {field.name: ids}
  if field.weighted:
    out[schema_lib.weight_column(field.name)] = [w for _, w in pairs]
  return out


def _pair(value: str, feature: str) -> tuple[str, float]:
  """Id and weight of `id` or `id:weight`."""
  id_, colon, weight = value.partition(":")
  if not id_:
    raise _Wrong(f"feature {feature!r}: expected an id, found {value!r}")
  return id_, _number(weight, feature) if colon else 1.0


def infer(path: pathlib.Path) -> schema_lib.Schema:
  """A schema from a file's first lines; what it took is logged.

  Names with `img` are images: the user's are behaviours. A number with a
  point and no weight is dense; all else is ids. The test split is the last
  tenth of the time from the first line to the last.

  Raises:
    InputError: the file is empty, or a line is wrong.
  """
  seen: dict[tuple[str, str], list[list[str]]] = {}
  labels, times = [], []
  for number, text, shared in itertools.islice(_lines(path), INFERRED_LINES):
    try:
      _, group, user, ad, label, time = _parts(text)
      sides = {"user": shared.of(group, user), "ad": _features(ad)}
      shared.keep(group, user, sides["user"])
      labels.append(_number(label.split(",")[0], "labels"))
      times.append(_whole(time, "timestamp"))
    except _Wrong as e:
      raise errors.InputError(f"{path}, line {number}: {e}") from e
    for side, features in sides.items():
      for name, values in features.items():
        seen.setdefault((side, name), []).append(values)
  if not seen:
    raise errors.InputError(f"{path}: expected samples, found none")
  fields = tuple(_guess(name, side, v) for (side, name), v in seen.items())
  for field in fields:
    _log.info("%s: %s, a feature of the %s", field.name, field.kind, field.side)
  plain = set(labels) <= {0.0, 1.0}
  return schema_lib.Schema(
    log=schema_lib.Log(
      label="labels",
      user="group key",
      time="timestamp",
      group="group key",
      positive_from=math.nan if plain else 0.5,
    ),
    feature=fields,
    split=_split([*times, _last_time(path)]),
  )


def _guess(name: str, side: str, lists: list[list[str]]) -> schema_lib.Field:
  values = [value for entry in lists for value in entry]
  if "img" in name:
    return schema_lib.Field(
      name=name, side=side, kind="images" if side == "user" else "image"
    )
  if any("." in v and ":" not in v for v in values):
    return schema_lib.Field(
      name=name, side=side, kind="dense", dimension=max(map(len, lists))
    )
  weighted = any(":" in v and _pair(v, name)[1] != 1 for v in values)
  return schema_lib.Field(name=name, side=side, kind="ids", weighted=weighted)


def _last_time(path: pathlib.Path) -> int:
  """Timestamp of the file's last line."""
  with path.open("rb") as file:
    file.seek(max(path.stat().st_size - (1 << 20), 0))
    last = file.read().decode("utf-8", "replace").split("\n")
  text = next(line for line in reversed(last) if line.strip())
  try:
    return _whole(text.rpartition("|")[2], "timestamp")
  except _Wrong as e:
    raise errors.InputError(f"{path}, last line: {e}") from e


def _split(times: list[int]) -> schema_lib.Split:
  first, last = min(times), max(times)
  if first == last:
    return schema_lib.Split(rule="user", test_share=0.1)
  moment = first + (last - first) * 9 // 10 + 1
  return schema_lib.Split(rule="time", test_from=schema_lib.iso(moment * 1000))


def write(path: pathlib.Path, lines: Sequence[Line]) -> None:
  """Writes samples; `read` gives them back.

  Raises:
    InputError: a key, name or id holds one of the format's own marks.
  """
  with path.open("w", encoding="utf-8") as file:
    for line in lines:
      parts = [
        _checked(line.skey),
        _checked(line.group),
        _join(line.user),
        _join(line.ad),
        ",".join(repr(float(label)) for label in line.labels),
        str(line.time),
      ]
      file.write("|".join(parts) + "\n")


def _join(features: Mapping[str, Sequence[Value]]) -> str:
  return ";".join(
    f"{_checked(name)}@" + ",".join(map(_written, values))
    for name, values in features.items()
  )


def _written(value: Value) -> str:
  if isinstance(value, tuple):
    return f"{_checked(str(value[0]))}:{value[1]!r}"
  return _checked(value) if isinstance(value, str) else repr(value)


def _checked(text: str) -> str:
  if not text or any(mark in text for mark in "|;@,:\r\n"):
    raise errors.InputError(
      f"expected a name or id without any of | ; @ , : found {text!r}"
    )
  return text
