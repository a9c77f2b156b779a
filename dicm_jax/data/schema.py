"""The schema of a click log: what each column means to the model.

A short TOML file, documented in docs/data.md:

  [log]
  label = "clicked"
  user = "user_id"
  time = "shown_at"
  [split]
  rule = "time"
  test_days = 1
  [[feature]]
  name = "item"
  side = "ad"
  kind = "id"
"""

from collections.abc import Mapping
import dataclasses
import datetime
import math
import pathlib
import re
import tomllib
from typing import Any

import pyarrow as pa

from dicm_jax import errors

SIDES = ("user", "ad", "context")
KINDS = ("id", "ids", "dense", "image", "images", "text")
VOCABULARIES = ("learn", "hash")
TIME_UNITS = ("s", "ms", "us", "iso")
SPLIT_RULES = ("time", "user", "column")
SAMPLINGS = ("uniform", "popularity")

RESERVED = (
  "label",
  "user",
  "time",
  "line",
  "file",
  "group",
  "dwell",
  "test",
  "item",
)
"""Columns of our own beside the features'."""

LISTS = ("ids", "images", "text")
"""Kinds with any number of values a sample; `id` and `image` have one."""
ID_KINDS = ("id", "ids", "text")
"""Kinds that become rows of the ID table."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Field:
  """One feature of the log."""

  name: str
  """What the model and the vocabulary file call it."""
  side: str
  """user: equal within a group; ad or context: one value a sample."""
  kind: str
  """id | ids | dense | image | images | text."""
  column: str = ""
  """Where the log has it; empty: under its name."""
  separator: str = "|"
  """Between the values of a list, where the file format has no lists."""
  dimension: int = 0
  """Numbers of a dense feature; 0 means 1."""
  standardise: bool = True
  """Scale a dense feature to zero mean and unit variance (training split)."""
  vocabulary: str = "learn"
  """learn: a row for each value seen often enough; hash: no vocabulary."""
  buckets: int = 0
  """Rows of a hashed feature, row 0 (missing) not counted."""
  min_count: int = 1
  """Values seen less often in the training split share row 0 = unknown."""
  max_length: int = 0
  """Values kept of a list, the last ones; 0: all."""
  weighted: bool = False
  """Whether list values carry weights, as in `id:weight`."""
  history: bool = False
  """Whether the user's clicked values become a list of the user side."""

  @property
  def width(self) -> int:
    return max(self.dimension, 1)

  def __post_init__(self):
    where = f"feature {self.name!r}"
    if self.name in RESERVED or not re.fullmatch(r"[A-Za-z0-9_-]+", self.name):
      raise errors.InputError(
        f"{where}: expected a name of letters, digits, _ and - that is none of "
        f"{', '.join(RESERVED)}; call it e.g. '{self.name}_id', and name the "
        f"log's column by column = {self.name!r}"
      )
    _one_of(f"{where}: side", self.side, SIDES)
    _one_of(f"{where}: kind", self.kind, KINDS)
    _one_of(f"{where}: vocabulary", self.vocabulary, VOCABULARIES)
    for key in ("dimension", "buckets", "max_length"):
      _at_least(f"{where}: {key}", getattr(self, key), 0)
    _at_least(f"{where}: min_count", self.min_count, 1)
    if not self.column:
      object.__setattr__(self, "column", self.name)
    if (self.vocabulary == "hash") != (self.buckets > 0):
      raise errors.InputError(
        f'{where}: expected buckets >= 1 with vocabulary = "hash" and none '
        f"with {self.vocabulary!r}, found buckets = {self.buckets}"
      )
    if self.kind == "image" and self.side != "ad":
      raise errors.InputError(
        f"{where}: kind 'image' is the picture of the ad; expected side "
        f"'ad', found {self.side!r}. Pictures of a user's behaviours have "
        "kind 'images'"
      )
    if self.kind == "images" and self.side != "user":
      raise errors.InputError(
        f"{where}: kind 'images' are pictures of a user's behaviours; expected "
        f"side 'user', found {self.side!r}"
      )
    if self.history and (self.side != "ad" or self.kind not in ("id", "image")):
      raise errors.InputError(
        f"{where}: history = true expected of an id or image of side 'ad'; "
        f"found kind {self.kind!r} of side {self.side!r}"
      )
    if self.weighted and self.kind != "ids":
      raise errors.InputError(
        f"{where}: weighted = true expected with kind 'ids', found "
        f"{self.kind!r}"
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Log:
  """Columns that every log has."""

  label: str
  """1 clicked, 0 not; see `positive_from`. Empty: the log holds clicks alone,
  and [negatives] makes up the rest."""
  user: str
  """The unit of histories and of GAUC."""
  time: str
  """When the ad was shown."""
  time_unit: str = "s"
  """s, ms or us since 1970, or iso: a date with or without a time of day."""
  positive_from: float = math.nan
  """Labels of this value and above count as clicks (ratings: 4); unset:
  labels must be 0 or 1."""
  group: str = ""
  """Column of the page view; empty: same user and same time."""
  dwell: str = ""
  """Seconds spent after the click, where the log knows them."""

  def __post_init__(self):
    _one_of("[log] time_unit", self.time_unit, TIME_UNITS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
  """Which page views test the model."""

  rule: str = "time"
  """time: the last days; user: each user's last ones; column: as it says."""
  test_days: float = 0.0
  """With rule time: the last so many days, counted back from the newest."""
  test_from: str = ""
  """With rule time: an ISO date or time, UTC."""
  test_share: float = 0.0
  """With rule user: share of each user's page views, rounded up."""
  column: str = ""
  """With rule column: where the log names the split of each sample."""
  test_value: str = "test"
  """With rule column: what it says of test samples."""

  def __post_init__(self):
    _one_of("[split] rule", self.rule, SPLIT_RULES)
    given = {
      "time": (self.test_days > 0) != bool(self.test_from),
      "user": 0 < self.test_share < 1,
      "column": bool(self.column),
    }
    expected = {
      "time": "test_days > 0 or test_from, not both",
      "user": "0 < test_share < 1",
      "column": "a column",
    }
    if not given[self.rule]:
      raise errors.InputError(
        f"[split] rule {self.rule!r}: expected {expected[self.rule]}"
      )
    if self.test_from:
      _iso("[split] test_from", self.test_from)

  @property
  def test_from_ms(self) -> int:
    """`test_from` in milliseconds since 1970."""
    return _iso("[split] test_from", self.test_from)


@dataclasses.dataclass(frozen=True, kw_only=True)
class History:
  """What a user's past clicks give to a page view."""

  max_length: int = 50
  """The latest so many clicks; the rest are cut and counted."""
  window_days: float = 0.0
  """Clicks older than this stay out; 0: none (the paper: 14)."""
  min_dwell: float = 0.0
  """Seconds; clicks left sooner stay out. Needs [log] dwell."""

  def __post_init__(self):
    _at_least("[history] max_length", self.max_length, 1)
    _at_least("[history] window_days", self.window_days, 0)
    _at_least("[history] min_dwell", self.min_dwell, 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Negatives:
  """Samples made up where the log holds positives only."""

  per_positive: int = 0
  """Items drawn for each positive, never one of the user's own; 0: none."""
  sampling: str = "uniform"
  """uniform over the items, or by popularity in the training split."""
  seed: int = 0

  def __post_init__(self):
    _one_of("[negatives] sampling", self.sampling, SAMPLINGS)
    _at_least("[negatives] per_positive", self.per_positive, 0)
    _at_least("[negatives] seed", self.seed, 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Items:
  """A table of items that the log's lines point into."""

  key: str
  """Column that log and item table share."""
  fields: tuple[str, ...]
  """Names of the ad-side features that stand in the item table."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schema:
  """All of a log's columns, and how it becomes training data."""

  log: Log
  feature: tuple[Field, ...]
  split: Split
  history: History = dataclasses.field(default_factory=History)
  negatives: Negatives = dataclasses.field(default_factory=Negatives)
  items: Items | None = None

  def __post_init__(self):
    names = [f.name for f in self.feature]
    for name in names:
      if names.count(name) > 1:
        raise errors.InputError(f"feature {name!r} is listed twice")
    for kind in ("image", "images"):
      if sum(f.kind == kind for f in self.feature) > 1:
        raise errors.InputError(f"expected at most one feature of kind {kind}")
    if not any(f.kind in ID_KINDS for f in self.feature):
      raise errors.InputError("expected at least one feature of kind id or ids")
    image = self.ad_image
    if self.behaviour_images and image and image.history:
      raise errors.InputError(
        f"feature {image.name!r}: history = true makes behaviour images, but "
        f"{self.behaviour_images.name!r} gives them already"
      )
    if self.history.min_dwell and not self.log.dwell:
      raise errors.InputError("[history] min_dwell needs a column [log] dwell")
    if not self.log.label and not self.negatives.per_positive:
      raise errors.InputError(
        "[log] label: expected a column; only a log of clicks alone, with "
        "[negatives] per_positive >= 1, goes without"
      )
    if self.negatives.per_positive and self.items is None:
      raise errors.InputError(
        "[negatives] draws from the item table, so it needs [items]"
      )
    for name in self.items.fields if self.items else ():
      if name not in names:
        raise errors.unknown_name("[items] feature", name, names)
      if self.field(name).side != "ad":
        raise errors.InputError(
          f"feature {name!r} stands in the item table; expected side 'ad', "
          f"found {self.field(name).side!r}"
        )

  def field(self, name: str) -> Field:
    return next(f for f in self.feature if f.name == name)

  @property
  def ad_image(self) -> Field | None:
    return next((f for f in self.feature if f.kind == "image"), None)

  @property
  def behaviour_images(self) -> Field | None:
    """The log's own lists of behaviour images, if it has them."""
    return next((f for f in self.feature if f.kind == "images"), None)

  @property
  def in_items(self) -> frozenset[str]:
    """Names of features that stand in the item table."""
    return frozenset(self.items.fields if self.items else ())


def arrow_type(field: Field) -> pa.DataType:
  """Type of a feature's column in blocks of events.

  id, image: string, null where missing. ids, images, text: list of string.
  dense: list of float32 of the feature's width.
  """
  if field.kind == "dense":
    return pa.list_(pa.float32())
  return pa.list_(pa.string()) if field.kind in LISTS else pa.string()


def weight_column(name: str) -> str:
  """Column of the weights of a weighted feature: list of float32."""
  return f"{name}.weight"


def feature_columns(fields: tuple[Field, ...]) -> list[pa.Field]:
  columns = []
  for field in fields:
    columns.append(pa.field(field.name, arrow_type(field)))
    if field.weighted:
      weights = pa.list_(pa.float32())
      columns.append(pa.field(weight_column(field.name), weights))
  return columns


def block_schema(schema: Schema) -> pa.Schema:
  """Columns of a block of events: what every reader yields.

  `label` float32 (0 or 1), `user` string, `time` int64 (ms since 1970), `line`
  int64 (from 1: with the file's number, the order of ties); `group` string,
  `dwell` float32 and `test` bool where the schema names their columns; `item`
  string where there is an item table; then a column for each feature that does
  not stand in the item table, see `arrow_type`.
  """
  columns = [
    pa.field("label", pa.float32()),
    pa.field("user", pa.string()),
    pa.field("time", pa.int64()),
    pa.field("line", pa.int64()),
  ]
  if schema.log.group:
    columns.append(pa.field("group", pa.string()))
  if schema.log.dwell:
    columns.append(pa.field("dwell", pa.float32()))
  if schema.split.rule == "column":
    columns.append(pa.field("test", pa.bool_()))
  if schema.items:
    columns.append(pa.field("item", pa.string()))
  own = tuple(f for f in schema.feature if f.name not in schema.in_items)
  return pa.schema(columns + feature_columns(own))


def items_schema(schema: Schema) -> pa.Schema:
  """Columns of the item table: `item` string, then its features."""
  own = tuple(f for f in schema.feature if f.name in schema.in_items)
  return pa.schema([pa.field("item", pa.string()), *feature_columns(own)])


def load(path: pathlib.Path) -> Schema:
  """Reads a schema file.

  Raises:
    InputError: the file is missing or no TOML, or a key or value is wrong;
      the message names file, section or feature, what was expected and found.
  """
  try:
    values = tomllib.loads(path.read_text())
  except OSError as e:
    raise errors.InputError(f"{path}: {e.strerror}") from e
  except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
    raise errors.InputError(f"{path}: not a TOML file: {e}") from e
  try:
    return from_dict(values)
  except errors.InputError as e:
    raise errors.InputError(f"{path}: {e}") from e


def from_dict(values: Mapping[str, Any]) -> Schema:
  """Makes a schema of nested plain values, as TOML and JSON hold them.

  Raises:
    InputError: as `load`.
  """
  sections = {f.name: f for f in dataclasses.fields(Schema)}
  for name in values:
    if name not in sections:
      raise errors.unknown_name("section", name, sections)
  for name in ("log", "split", "feature"):
    if name not in values:
      raise errors.InputError(f"section [{name}] is missing")
  kinds = {
    "log": Log,
    "split": Split,
    "history": History,
    "negatives": Negatives,
    "items": Items,
  }
  made: dict[str, Any] = {
    name: _section(kind, values[name], f"[{name}]")
    for name, kind in kinds.items()
    if values.get(name) is not None
  }
  if not isinstance(values["feature"], (list, tuple)):
    raise errors.InputError("expected [[feature]] sections, in double brackets")
  made["feature"] = tuple(
    _section(Field, entry, f"[[feature]] {i}")
    for i, entry in enumerate(values["feature"], start=1)
  )
  return Schema(**made)


def to_dict(schema: Schema) -> dict[str, Any]:
  """The inverse of `from_dict`, defaults left out."""

  def plain(entry) -> dict[str, Any]:
    return {
      f.name: list(value) if isinstance(value, tuple) else value
      for f in dataclasses.fields(entry)
      if (value := getattr(entry, f.name)) != f.default
      and not (isinstance(value, float) and math.isnan(value))
      and not (f.name == "column" and value == getattr(entry, "name", None))
    }

  out: dict[str, Any] = {"log": plain(schema.log), "split": plain(schema.split)}
  for name in ("history", "negatives", "items"):
    entry = getattr(schema, name)
    if entry is not None and plain(entry):
      out[name] = plain(entry)
  return out | {"feature": [plain(f) for f in schema.feature]}


def to_toml(schema: Schema) -> str:
  """The text of a schema file that `load` reads back."""

  def lines(entry: Mapping[str, Any]):
    return [f"{key} = {_toml(value)}" for key, value in entry.items()]

  values = to_dict(schema)
  features = values.pop("feature")
  parts = [[f"[{name}]", *lines(entry)] for name, entry in values.items()]
  parts += [["[[feature]]", *lines(entry)] for entry in features]
  return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _toml(value: Any) -> str:
  if isinstance(value, bool):
    return str(value).lower()
  if isinstance(value, str):
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\t", "\\t").replace("\n", "\\n") + '"'
  if isinstance(value, list):
    return "[" + ", ".join(map(_toml, value)) + "]"
  return repr(value)


def _section(kind, values: Any, where: str):
  """Builds one dataclass of plain fields, checking names and types."""
  if not isinstance(values, Mapping):
    raise errors.InputError(f"{where}: expected a section, found {values!r}")
  if isinstance(values.get("name"), str):
    where = f"feature {values['name']!r}"
  fields = {f.name: f for f in dataclasses.fields(kind)}
  for key in values:
    if key not in fields:
      raise errors.unknown_name(f"key in {where}", key, fields)
  for name, field in fields.items():
    if field.default is dataclasses.MISSING and name not in values:
      raise errors.InputError(f"{where}: key {name!r} is missing")
  made = {
    k: _typed(fields[k].type, v, f"{where} {k}") for k, v in values.items()
  }
  return kind(**made)


def _typed(kind, value: Any, where: str):
  if kind is float and type(value) is int:
    return float(value)
  if kind is str and isinstance(value, (datetime.date, datetime.datetime)):
    return value.isoformat()  # TOML has dates of its own.
  if kind == tuple[str, ...] and isinstance(value, (list, tuple)):
    if all(isinstance(part, str) for part in value):
      return tuple(value)
    raise errors.InputError(f"{where}: expected strings, found {value!r}")
  if type(value) is not kind:
    name = getattr(kind, "__name__", "list of str")
    raise errors.InputError(f"{where}: expected {name}, found {value!r}")
  return value


def _one_of(where: str, value: str, known: tuple[str, ...]) -> None:
  if value not in known:
    raise errors.unknown_name(where, value, known)


def _at_least(where: str, value: int | float, least: int) -> None:
  if not value >= least:
    raise errors.InputError(f"{where}: expected >= {least}, found {value}")


def iso(ms: int) -> str:
  """A time in milliseconds since 1970 as ISO text, UTC."""
  return datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC).isoformat()


def _iso(where: str, text: str) -> int:
  """Milliseconds since 1970 of an ISO date or time; UTC unless it says."""
  try:
    found = datetime.datetime.fromisoformat(text)
  except ValueError as e:
    raise errors.InputError(
      f"{where}: expected an ISO date such as 2026-01-31, found {text!r}"
    ) from e
  if found.tzinfo is None:
    found = found.replace(tzinfo=datetime.UTC)
  return round(found.timestamp() * 1000)
