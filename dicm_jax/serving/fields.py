"""What a model reads of a page view, and what requests call it.

The tables know rows, requests know values: a string of a vocabulary, a string
that is hashed, or, where the data set has no values, the row itself.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, Literal

from dicm_jax import errors
from dicm_jax.data import click_log
from dicm_jax.data import layout as layout_lib

Side = Literal["user", "ad", "context"]
VALUES = ("vocabulary", "hash", "rows")


@dataclasses.dataclass(frozen=True, kw_only=True)
class IdField:
  """A feature whose values are rows of the ID table."""

  name: str
  side: Side
  many: bool
  """Whether there is any number of values; else one, perhaps unknown."""
  weighted: bool
  """Whether each of the values has a weight."""
  rows: int
  """Row 0, the unknown id, included."""
  values: str
  """What a value is, one of VALUES."""
  past_of: str = ""
  """Of the user side: the ads' feature whose clicked values these are, oldest
  first."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenseField:
  """Numbers of a page view or an ad."""

  name: str
  side: Side
  mean: tuple[float, ...]
  """Of each of its numbers: what a missing field counts as."""
  deviation: tuple[float, ...]
  """The network reads (number - mean) / deviation; where it is 0, the number
  as it is."""

  @property
  def width(self) -> int:
    return len(self.mean)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fields:
  """All that a page view may say, in the network's order."""

  ids: tuple[IdField, ...]
  dense: tuple[DenseField, ...]
  ad_images: bool
  """Whether the network sees pictures of ads."""
  behaviour_images: bool
  """Whether it sees pictures of what the user clicked."""
  past_ids: bool
  """Whether it compares the ad's ids with those of past clicks."""
  image_rows: int
  """Rows of the image table; 0: there is none."""
  no_image: int | None
  """Image row of ads without a picture; None: every ad has one."""

  @property
  def layout(self) -> layout_lib.Layout:
    """The same as batches know it."""
    return layout_lib.Layout(
      features=tuple(_feature(field) for field in self.ids),
      ad_images=self.ad_images or self.behaviour_images,
      behaviour_images=self.behaviour_images,
      past_ids=self.past_ids,
    )

  def of(self, *sides: Side) -> list[IdField]:
    return [field for field in self.ids if field.side in sides]

  def numbers(self, *sides: Side) -> list[DenseField]:
    return [field for field in self.dense if field.side in sides]


def _feature(field: IdField) -> click_log.Feature:
  user = field.side == "user"
  return click_log.Feature(
    name=field.name,
    side="user" if user else "ad",
    rows=field.rows,
    lists=field.many and not user,
    context=field.side == "context",
    past_of=field.past_of,
  )


def to_dict(fields: Fields) -> dict[str, Any]:
  """Plain values, as JSON holds them."""
  return dataclasses.asdict(fields)


def from_dict(values: Mapping[str, Any]) -> Fields:
  """The inverse of `to_dict`.

  Raises:
    InputError: a key is missing or unknown.
  """
  try:
    plain = dict(values)
    ids = tuple(IdField(**field) for field in plain.pop("ids"))
    dense = tuple(
      DenseField(
        **field | {key: tuple(field[key]) for key in ("mean", "deviation")}
      )
      for field in plain.pop("dense")
    )
    return Fields(ids=ids, dense=dense, **plain)
  except (KeyError, TypeError) as e:
    raise errors.InputError(f"fields of the bundle: {e}") from e
