"""Sample text of the XDL CrossMedia example, the DICM authors' own format.

A line is `skey|group key|features|features|labels|timestamp`, with features
`name@value,value` between semicolons and a value `id`, `id:weight` or a number.
The first block of features is the user's, the second the ad's. Lines of one
group key stand together and share the user's features.
Source: https://github.com/alibaba/x-deeplearning, xdl-algorithm-solution,
CrossMedia.
"""

from collections.abc import Callable, Iterator
import functools
import math
import pathlib
import re
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from dicm_jax import errors
from dicm_jax.data import schema as schema_lib
from dicm_jax.data import source

PARTS = 6
"""Fields between bars."""
LABELS = "labels"
"""Name of the only label of a line; of several, `labels.0`, `labels.1`, ..."""

# Seconds since 1970 of the years 1 to 9999, all that ISO dates can say.
_FIRST, _LAST = -62_135_596_800, 253_402_300_799
LONGEST = 64 << 20
"""Bytes of a line, at most."""
_LARGEST = float(np.finfo(np.float32).max)

Texts = dict[str, list[str]]
"""A feature's values as the file has them."""


class Wrong(ValueError):
  """What is wrong with a line."""


class Parsed(NamedTuple):
  """A line cut into its parts."""

  group: str
  user: dict[str, Any]
  """What `parsed` made of the group's."""
  ad: Texts
  labels: list[str]
  time: int


def read(
  path: pathlib.Path, schema: schema_lib.Schema, bad: source.Bad
) -> Iterator[pa.Table]:
  """Yields blocks of events; group key is both user and page view.

  Raises:
    InputError: the file cannot be read; or a line is wrong and `bad` says stop.
  """
  wanted = schema_lib.block_schema(schema)
  made: list[dict[str, Any]] = []
  of_user = functools.partial(_side, schema=schema, side="user")
  for number, line in parsed(path, of_user):
    try:
      if isinstance(line, Wrong):
        raise line
      made.append(_event(line, number, schema))
    except Wrong as e:
      bad.report(path, number, str(e))
    if len(made) == source.BLOCK_ROWS:
      yield pa.Table.from_pylist(made, wanted)
      made = []
  if made:
    yield pa.Table.from_pylist(made, wanted)


def parsed(
  path: pathlib.Path, of_user: Callable[[Texts], dict[str, Any]]
) -> Iterator[tuple[int, Parsed | Wrong]]:
  """Yields the number of each line and its parts, or what is wrong with it.

  Args:
    path: of the file.
    of_user: makes of a group's user features what its lines share; raises
      Wrong.

  Raises:
    InputError: the file cannot be read, or a line is longer than `LONGEST`.
  """
  users = _Users(of_user)
  try:
    with path.open("rb") as file:
      lines = iter(lambda: file.readline(LONGEST), b"")
      for number, line in enumerate(lines, start=1):
        if len(line) == LONGEST and not line.endswith(b"\n"):
          raise errors.InputError(
            f"{path}, line {number}: expected a sample a line, found more than "
            f"{LONGEST >> 20} MB without a line break"
          )
        if not line.isspace():
          try:
            yield number, _parsed(line, number, users)
          except Wrong as e:
            yield number, e
  except OSError as e:
    raise errors.InputError(f"{path}: cannot be read: {e}") from e


class _Users:
  """The user's features of the group at hand: its first line has them."""

  def __init__(self, make: Callable[[Texts], dict[str, Any]]):
    self.make = make
    self.group: str | None = None
    self.text = ""
    self.made: dict[str, Any] = {}
    self.unread = 0
    """Number of a wrong line just before, of a group unknown."""
    self.lost = 0
    """Number of the wrong line that has, or may have, the features."""

  def of(self, number: int, group: str, text: str) -> dict[str, Any]:
    if group != self.group:
      self.group, self.text, self.made = group, "", {}
      self.lost = 0 if text else self.unread
      first = not self.lost
    else:
      first = bool(text and self.lost)
    self.unread = 0
    if self.lost and not text:
      raise Wrong(
        f"group {group!r}: expected the user features of the group's first "
        f"line, which may be line {self.lost}, a wrong one"
      )
    if first:
      self.lost = number
      self.made = self.make(_features(text))
      self.text, self.lost = text, 0
    elif text and text != self.text:
      raise Wrong(
        f"group {group!r}: expected the user features of the group's first "
        f"line, found others: {text[:60]!r}"
      )
    return self.made


def _parsed(line: bytes, number: int, users: _Users) -> Parsed:
  try:
    parts = _parts(line.decode().rstrip("\r\n"))
  except UnicodeDecodeError as e:
    users.unread = number
    raise Wrong(f"expected UTF-8 text: {e}") from e
  except Wrong:
    users.unread = number
    raise
  _, group, user, ad, labels, time = parts
  return Parsed(
    group,
    users.of(number, group, user),
    _features(ad),
    labels.split(","),
    seconds(time),
  )


def _event(
  line: Parsed, number: int, schema: schema_lib.Schema
) -> dict[str, Any]:
  """A line as a row of a block."""
  for field in schema.feature:
    of_both = field.column in line.ad and field.name in line.user
    if of_both and field.side != "user":  # Else `_side` says what is wrong.
      raise Wrong(f"feature {field.column!r}: found of the user and of the ad")
  return {
    "label": _label(line.labels, schema.log),
    "user": line.group,
    "group": line.group,
    "time": line.time * 1000,
    "line": number,
    **_side(line.ad, schema, "ad"),
    **line.user,
  }


def _side(texts: Texts, schema: schema_lib.Schema, side: str) -> dict[str, Any]:
  """Columns of one side; those of the context stand on any."""
  known = {f.column: f.side for f in schema.feature}
  for name in texts:
    if name not in known:
      raise Wrong(str(errors.unknown_name("feature", name, known)))
    if known[name] not in (side, "context"):
      raise Wrong(
        f"feature {name!r}: expected of the {known[name]}, found of the {side}"
      )
  out: dict[str, Any] = {}
  for field in schema.feature:
    ours = "user" if field.side == "user" else "ad"
    if ours == side or field.column in texts:
      out |= _columns(field, texts.get(field.column, []))
  return out


def _parts(text: str) -> list[str]:
  parts = text.split("|")
  if len(parts) != PARTS:
    raise Wrong(f"expected {PARTS} fields between '|', found {len(parts)}")
  for name, part in (("skey", parts[0]), ("group key", parts[1])):
    if not part:
      raise Wrong(f"field {name!r}: expected a key, found nothing")
  return parts


def _features(text: str) -> Texts:
  """Values of each feature between semicolons."""
  out: Texts = {}
  for part in filter(None, text.split(";")):
    name, at, values = part.partition("@")
    if not at or not name:
      raise Wrong(f"expected features as name@values, found {part!r}")
    if name in out:
      raise Wrong(f"feature {name!r}: expected once, found twice")
    out[name] = values.split(",") if values else []
  return out


def _label(texts: list[str], log: schema_lib.Log) -> float:
  """The only label, or the one that the schema numbers."""
  numbered = re.fullmatch(r".*\.([0-9]{1,9})", log.label)
  place = int(numbered[1]) if numbered else 0
  if len(texts) <= place or (len(texts) > 1 and not numbered):
    expected = f"{place + 1} or more labels" if numbered else "1 label"
    raise Wrong(f"field 'labels': expected {expected}, found {len(texts)}")
  found = number(texts[place], "labels")
  if not math.isnan(log.positive_from):
    return float(found >= log.positive_from)
  if found not in (0.0, 1.0):
    raise Wrong(f"field 'labels': expected 0 or 1, found {texts[place]!r}")
  return found


def number(text: str, field: str) -> float:
  """A number that float32 can hold.

  Raises:
    Wrong: it is none.
  """
  try:
    found = float("x" if "_" in text else text)  # Python would read 1_000.
  except ValueError as e:
    raise Wrong(f"field {field!r}: expected a number, found {text!r}") from e
  if not abs(found) <= _LARGEST:
    raise Wrong(f"field {field!r}: expected a finite number, found {text!r}")
  return found


def seconds(text: str) -> int:
  """Seconds since 1970.

  Raises:
    Wrong: they are none.
  """
  if not re.fullmatch("-?[0-9]+", text):
    raise Wrong(f"field 'timestamp': expected a whole number, found {text!r}")
  if len(text) > 13 or not _FIRST <= int(text) <= _LAST:
    raise Wrong(
      f"field 'timestamp': expected seconds since 1970, found {text[:40]}"
    )
  return int(text)


def _columns(field: schema_lib.Field, values: list[str]) -> dict[str, Any]:
  """A feature's columns of a row."""
  if field.kind == "dense":
    if values and len(values) != field.width:
      raise Wrong(
        f"feature {field.column!r}: expected {field.width} numbers, found "
        f"{len(values)}"
      )
    numbers = [number(v, field.column) for v in values]
    return {field.name: numbers}
  pairs = [pair(value, field.column) for value in values]
  ids = [id_ for id_, _ in pairs]
  if field.kind in ("id", "image"):
    if len(ids) > 1:
      raise Wrong(f"feature {field.column!r}: expected 1 id, found {len(ids)}")
    return {field.name: ids[0] if ids else None}
  out: dict[str, Any] = {field.name: ids}
  if field.weighted:
    out[schema_lib.weight_column(field.name)] = [w for _, w in pairs]
  return out


def pair(value: str, feature: str) -> tuple[str, float]:
  """Id and weight of `id` or `id:weight`.

  Raises:
    Wrong: it is neither.
  """
  id_, colon, weight = value.partition(":")
  if not id_:
    raise Wrong(f"feature {feature!r}: expected an id, found {value!r}")
  return id_, number(weight, feature) if colon else 1.0
