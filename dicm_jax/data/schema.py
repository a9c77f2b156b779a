"""The schema of a click log: what each column means to the model."""

import dataclasses
import datetime
import math

import pyarrow as pa

from dicm_jax import errors
from dicm_jax.data import field as field_lib
from dicm_jax.data import schema_checks

TIME_UNITS = ("s", "ms", "us", "iso")
SPLIT_RULES = ("time", "user", "column")
SAMPLINGS = ("uniform", "popularity")

MAX_DAYS = 36_525
"""A hundred years."""
MAX_NEGATIVES = 1000

Field = field_lib.Field
LISTS, ID_KINDS = field_lib.LISTS, field_lib.ID_KINDS
RESERVED = field_lib.RESERVED
QUERY = "query"
"""Our column of search queries, where the log has them."""


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
  query: str = ""
  """Column of what the user searched for, where the page answers a search."""

  def __post_init__(self):
    for key in ("user", "time"):
      schema_checks.text(f"[log] {key}", getattr(self, key))
    schema_checks.one_of("[log] time_unit", self.time_unit, TIME_UNITS)


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
    schema_checks.one_of("[split] rule", self.rule, SPLIT_RULES)
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
    schema_checks.between("[split] test_days", self.test_days, 0, MAX_DAYS)
    if self.test_from:
      iso_ms("[split] test_from", self.test_from)

  @property
  def test_from_ms(self) -> int:
    """`test_from` in milliseconds since 1970."""
    return iso_ms("[split] test_from", self.test_from)


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
    between = schema_checks.between
    between("[history] max_length", self.max_length, 1, field_lib.MAX_LENGTH)
    between("[history] window_days", self.window_days, 0, MAX_DAYS)
    between("[history] min_dwell", self.min_dwell, 0, MAX_DAYS * 86_400)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Negatives:
  """Samples made up where the log holds positives only."""

  per_positive: int = 0
  """Items drawn for each positive, never one of the user's own; 0: none."""
  sampling: str = "uniform"
  """uniform over the items, or by popularity in the training split."""
  seed: int = 0

  def __post_init__(self):
    schema_checks.one_of("[negatives] sampling", self.sampling, SAMPLINGS)
    between = schema_checks.between
    between("[negatives] per_positive", self.per_positive, 0, MAX_NEGATIVES)
    between("[negatives] seed", self.seed, 0, 2**63 - 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Items:
  """A table of items that the log's lines point into."""

  key: str
  """Column that log and item table share."""
  fields: tuple[str, ...]
  """Names of the ad-side features that stand in the item table."""

  def __post_init__(self):
    schema_checks.text("[items] key", self.key)


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
    if self.log.query and QUERY in names:
      raise errors.InputError(
        f"feature {QUERY!r}: [log] query makes a column of that name; call the "
        f"feature e.g. 'query_words', with column = {self.log.query!r}"
      )
    if not any(f.kind in ID_KINDS for f in self.feature):
      raise errors.InputError("expected at least one feature of kind id or ids")
    image, behaviours = self.ad_image, self.behaviour_images
    if behaviours and image and image.history:
      raise errors.InputError(
        f"feature {image.name!r}: history = true makes behaviour images, but "
        f"{behaviours.name!r} gives them already"
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
  `dwell` float32, `query` string (null: none) and `test` bool where the schema
  names their columns; `item` string where there is an item table; then a column
  for each feature that does not stand in the item table, see `arrow_type`.
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
  if schema.log.query:
    columns.append(pa.field(QUERY, pa.string()))
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


def iso(ms: int) -> str:
  """A time in milliseconds since 1970 as ISO text, UTC."""
  return datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC).isoformat()


def iso_ms(where: str, text: str) -> int:
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
