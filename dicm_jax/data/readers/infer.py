"""Proposes a schema for a log, from its first rows and its columns' names."""

from collections.abc import Callable
import dataclasses
import datetime
import itertools
import pathlib
import re

import numpy as np
import pyarrow as pa

from dicm_jax import errors
from dicm_jax.data import schema as schema_lib
from dicm_jax.data import source
from dicm_jax.data.readers import columns as columns_lib
from dicm_jax.data.readers import pictures, table

ROWS = 10_000
DAY = 86_400

_LABEL = r"label|click(ed)?|is_click(ed)?|target|y|conversion|converted"
_USER = r"(user|uid|member|visitor|customer|account)(_?(id|key|hash|idx))?"
_TIME = r".*(time(stamp)?|_ts|_at|date|datetime)$|ts|t_dat"
_GROUP = r"(session|request|impression|page_?view|view|group)(_?(id|key))?"
_DWELL = r".*dwell.*|.*read_?time.*|.*stay.*"
_IMAGE = r".*(image|img|picture|photo|poster|thumbnail).*"
_OF_IMAGE = r".*(width|height|size|count|num|ratio|area|pos|score)s?$"
"""Numbers that tell of a picture; none that names one."""
_SEPARATORS = ("|", ";", " ", ",")


@dataclasses.dataclass
class _Columns:
  """The columns of the first rows, as text or lists of text."""

  path: pathlib.Path
  values: dict[str, list]
  left: list[str]
  """Names of those that have no part yet."""
  reasons: list[str]

  def take(
    self, what: str, pattern: str, fits: Callable[[list], bool], need: bool
  ) -> str:
    """The first column that fits by name and values; "" if none does."""
    for name in self.left:
      if re.fullmatch(pattern, name.lower()) and fits(self.values[name]):
        self.left.remove(name)
        self.reasons.append(f"{name}: {what}, by its name and values")
        return name
    if need:
      raise errors.InputError(
        f"{self.path}: found no column that looks like the {what}; write a "
        f"schema that names it. Columns: {', '.join(self.values)}"
      )
    return ""


def infer(path: pathlib.Path) -> tuple[schema_lib.Schema, list[str]]:
  """Proposes a schema.

  Args:
    path: a log as CSV, JSON lines or Parquet.

  Returns:
    The schema, and a line for each column on what it was taken for.

  Raises:
    InputError: the file cannot be read, or no column looks like the label,
      the user or the time.
  """
  try:
    return _proposed(_columns(path))
  except errors.InputError as e:
    if str(path) in str(e):
      raise
    raise errors.InputError(f"{path}: {e}; write a schema") from e


def _proposed(columns: _Columns) -> tuple[schema_lib.Schema, list[str]]:
  label = columns.take("label", _LABEL, _is_label, True)
  user = columns.take("user", _USER, lambda _: True, True)
  time = columns.take("time", _TIME, lambda v: bool(_time_unit(v)), True)
  unit = _time_unit(columns.values[time])
  log = schema_lib.Log(
    label=label,
    user=user,
    time=time,
    time_unit=unit,
    group=columns.take("page view", _GROUP, lambda _: True, False),
    dwell=columns.take("dwell time", _DWELL, _is_number, False),
  )
  columns.left.insert(0, user)  # A feature as well as the key.
  fields = _fields(columns, user)
  split, reason = _split(columns.values[time], unit)
  columns.reasons.append(reason)
  return schema_lib.Schema(
    log=log, feature=fields, split=split
  ), columns.reasons


def _columns(path: pathlib.Path) -> _Columns:
  blocks = list(itertools.islice(table.raw_blocks(path, None, source.Bad()), 1))
  if not blocks or not len(blocks[0][1]):
    raise errors.InputError(f"{path}: expected rows, found none")
  block = blocks[0][1].slice(0, ROWS)
  values = {}
  for name in block.column_names:
    with columns_lib.converting(path, name, block[name].type):
      values[name] = _plain(block[name])
  return _Columns(path, values, list(values), [])


def _plain(column: pa.ChunkedArray) -> list:
  """Values as text, lists of text, or None."""

  def text(value):
    if value is None or value == "":
      return None
    if isinstance(value, (list, np.ndarray)):
      return [str(v) for v in value]
    if isinstance(value, float) and value.is_integer():
      return str(int(value))
    return value.isoformat() if isinstance(value, datetime.date) else str(value)

  return [text(value) for value in column.to_pylist()]


def _known(values: list) -> list:
  return [value for value in values if value is not None]


def _is_label(values: list) -> bool:
  texts = {str(v).lower() for v in _known(values)}
  known = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
  return texts <= set(known) and len({known[text] for text in texts}) == 2


def _is_number(values: list) -> bool:
  try:
    return all(np.isfinite(float(v)) for v in _known(values)) and bool(
      _known(values)
    )
  except (TypeError, ValueError):
    return False


def _time_unit(values: list) -> str:
  """s, ms, us or iso; "" if these are no times of 1990 to 2100."""
  known = _known(values)
  if not known or isinstance(known[0], list):
    return ""
  if _is_number(known):
    middle = float(np.median([float(v) for v in known]))
    for unit, scale in (("s", 1), ("ms", 1e3), ("us", 1e6)):
      if 6.3e8 * scale < middle < 4.1e9 * scale:
        return unit
    return ""
  return "iso" if re.match(r"\d{4}-\d\d-\d\d", known[0]) else ""


def _fields(columns: _Columns, user: str) -> tuple[schema_lib.Field, ...]:
  """A feature for each column that is left."""
  pictures_of = _pictures(columns)
  fields: list[schema_lib.Field] = []
  for name in columns.left:
    ours = free_name(name, [f.name for f in fields])
    if _is_constant(columns.values[name]):
      columns.reasons.append(f"{name}: left out, it is always the same")
    elif name in pictures_of:
      field = pictures_of[name]
      fields.append(dataclasses.replace(field, name=ours))
      columns.reasons.append(f"{name}: {field.kind} of the {field.side}")
    else:
      field = _field(ours, name, columns, user)
      fields.append(field)
      columns.reasons.append(f"{name}: {field.kind} of the {field.side}")
  for name, field in pictures_of.items():
    if field.kind == "image":  # Baselines know pictures by their ids.
      ours = free_name(f"{name}_id", [f.name for f in fields])
      fields.append(
        schema_lib.Field(
          name=ours, column=name, side="ad", kind="id", history=True
        )
      )
  return tuple(fields)


def _is_constant(values: list) -> bool:
  return len({str(v) for v in _known(values)}) < 2


def free_name(name: str, taken: list[str]) -> str:
  """A feature's name from a column's, unlike those taken."""
  ours = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:80].lstrip("_-") or "column"
  ours = f"{ours}_id" if ours in schema_lib.RESERVED else ours
  ours = f"log_{ours}" if ours.startswith("history_") else ours
  numbered = (f"{ours}_{n}" for n in itertools.count(2))
  return (
    ours if ours not in taken else next(n for n in numbered if n not in taken)
  )


def _pictures(columns: _Columns) -> dict[str, schema_lib.Field]:
  """The column of the ad's picture and that of behaviours', where they are.

  Values that are names of picture files say more than a column's name.
  """
  found: dict[str, schema_lib.Field] = {}
  for by_values in (True, False):
    for name in columns.left:
      known = _known(columns.values[name])
      if _is_constant(known):
        continue
      separator, lists = _list_of(known)
      kind = "images" if lists else "image"
      if any(f.kind == kind for f in found.values()):
        continue
      if _is_image(name, _flat(known, separator, lists), by_values):
        found[name] = schema_lib.Field(
          name="picture",
          column=name,
          separator=separator,
          kind=kind,
          side="user" if lists else "ad",
        )
  for name, field in found.items():
    if field.kind == "image" and len(found) == 1:
      found[name] = dataclasses.replace(field, history=True)
  return found


def _field(
  ours: str, name: str, columns: _Columns, user: str
) -> schema_lib.Field:
  """What a column without pictures is taken for."""
  values = columns.values[name]
  known = _known(values)
  separator, lists = _list_of(known)
  of_user = name == user or _of_user(values, columns.values[user])
  side = "user" if of_user else "ad"
  kind = "ids" if lists else _kind(known)
  item = bool(re.search(r"item|ad_?id|product|article", ours.lower()))
  return schema_lib.Field(
    name=ours,
    column=name,
    separator=separator,
    kind=kind,
    side=side,
    history=item and (side, kind) == ("ad", "id"),
  )


def _flat(known: list, separator: str, lists: bool) -> list[str]:
  if not lists:
    return known
  parts = [v if isinstance(v, list) else v.split(separator) for v in known]
  return [value for part in parts for value in part]


def _is_image(name: str, values: list[str], by_values: bool) -> bool:
  if by_values:
    return bool(values) and all(
      value.lower().endswith(pictures.SUFFIXES) for value in values
    )
  name = name.lower()
  return bool(re.fullmatch(_IMAGE, name)) and not re.fullmatch(_OF_IMAGE, name)


def _kind(known: list[str]) -> str:
  if _is_number(known):
    fractions = any("." in v or "e" in v.lower() for v in known)
    return "dense" if fractions else "id"
  return "text" if np.mean([len(v.split()) for v in known]) >= 3 else "id"


def _list_of(known: list) -> tuple[str, bool]:
  """The separator of lists in a column, and whether it holds lists."""
  if isinstance(known[0], list):
    return "|", True
  for separator in _SEPARATORS[:2]:
    if sum(separator in value for value in known) >= max(2, len(known) // 10):
      return separator, True
  return "|", False


def _of_user(values: list, users: list) -> bool:
  """Whether a user always has the same value, and users come repeatedly."""
  seen: dict[str, str] = {}
  repeated = False
  for user, value in zip(users, values, strict=True):
    repeated = repeated or user in seen
    if seen.setdefault(user, str(value)) != str(value):
      return False
  return repeated


def _split(values: list, unit: str) -> tuple[schema_lib.Split, str]:
  known = _known(values)
  if unit == "iso":
    days = len({v[:10] for v in known})
  else:
    scale = {"s": 1, "ms": 1e3, "us": 1e6}[unit] * DAY
    times = [float(v) for v in known]
    days = (max(times) - min(times)) / scale
  if days >= 3:
    return schema_lib.Split(rule="time", test_days=1.0), "split: the last day"
  return (
    schema_lib.Split(rule="user", test_share=0.1),
    "split: each user's last tenth, for the log spans less than 3 days",
  )
