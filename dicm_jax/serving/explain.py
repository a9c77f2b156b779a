"""What drove one score: behaviour pictures, ids, the ad's picture.

Integrated gradients over the short vectors, see `path_sums`, of the logit. Two
entries of a list that are the same id are one group, as are all numbers of a
vector. Dense numbers and weights of values stay as they are.
"""

from typing import Literal, NamedTuple

from jaxtyping import Float, Int
import numpy as np

from dicm_jax import errors
from dicm_jax.data import click_log
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import logs, path_sums, what_if

Kind = Literal["behaviour", "picture", "id"]
_CERTAIN = 1e-7
"""A probability this near to 0 or 1 says no more of its logit."""
_POINTS = 20_000
"""Scored at a time: bounds the memory."""


class Part(NamedTuple):
  """A vector of the page view, and what it added to the logit."""

  kind: Kind
  """A behaviour's picture, the ad's picture or an id."""
  field: str
  """Of an id; else empty."""
  value: str
  """The id, or the picture's name."""
  place: int
  """Of a behaviour, from 0, the oldest; else of the first such id."""
  share: float


class Explanation(NamedTuple):
  """Of one score."""

  parts: list[Part]
  """By size, the largest first."""
  logit: float
  baseline: float
  """Logit of the baseline: no id known, and mean pictures."""
  missed: float
  """Of logit - baseline, what the shares do not add up to."""
  steps: int


class _Slots(NamedTuple):
  """Vectors of one table that the page view reads, entry by entry."""

  vectors: Float[np.ndarray, "g D"]
  """One for each group."""
  baseline: Float[np.ndarray, "g D"]
  group: Int[np.ndarray, " entries"]
  """Of each entry, from 0."""
  first: int
  """Number of group 0 among all groups."""


def explain(
  bundle: bundle_lib.Bundle, engine: str, log: click_log.ClickLog, ad: int
) -> Explanation:
  """What drove the score of an ad.

  Args:
    bundle: the model.
    engine: numpy or artifact.
    log: one page view.
    ad: number of its ad.

  Raises:
    InputError: there is no such ad.
  """
  if not 0 <= ad < log.num_samples:
    raise errors.InputError(
      f"ad: expected 0 to {log.num_samples - 1}, found {ad}"
    )
  path = _Path(bundle, engine, logs.shown(log, np.array([ad]), log))
  found = path_sums.shares(path, len(path.parts))
  parts = [
    part._replace(share=share)
    for part, share in zip(path.parts, found.share.tolist(), strict=True)
  ]
  return Explanation(
    parts=sorted(parts, key=lambda part: -abs(part.share)),
    logit=found.value,
    baseline=found.baseline,
    missed=found.missed,
    steps=found.steps,
  )


def logits(probability: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
  """log(p / (1 - p)), bounded.

  >>> logits(np.array([0.5, 1.0])).round(3).tolist()
  [0.0, 16.118]
  """
  p = np.clip(probability.astype(np.float64), _CERTAIN, 1 - _CERTAIN)
  return np.log(p) - np.log1p(-p)


class _Path:
  """The logit of one ad, on the way from the baseline to its page view.

  A point is a page view of its own, whose rows lie in tables made for it.
  """

  def __init__(
    self, bundle: bundle_lib.Bundle, engine: str, log: click_log.ClickLog
  ):
    self._bundle, self._engine, self._log = bundle, engine, log
    self.parts: list[Part] = []
    self._ids = {
      field.name: self._of_field(field.name) for field in bundle.fields.ids
    }
    layout = bundle.fields.layout
    past, shown = log.behaviour_images.values, log.ad_image
    self._past = self._of_pictures(
      "behaviour", past if layout.behaviour_images else past[:0]
    )
    self._ad = self._of_pictures(
      "picture", shown if layout.ad_images else shown[:0]
    )

  def _rows(self, name: str) -> Int[np.ndarray, " entries"]:
    log = self._log
    if name in log.ad_ids:
      return log.ad_ids[name]
    return (log.user_ids | log.ad_lists)[name].values

  def _of_field(self, name: str) -> _Slots:
    bundle = self._bundle
    offset = bundle.fields.layout.offsets[name]
    rows, place, group = np.unique(
      self._rows(name), return_index=True, return_inverse=True
    )
    first = len(self.parts)
    known = bundle.vocabularies[name]
    for row, at in zip(rows.tolist(), place.tolist(), strict=True):
      value = known.value(row) if row else None
      text = f"{value}" if value is not None else f"row {row}"
      text = text if row else "unknown"
      self.parts.append(Part("id", name, text, at, 0.0))
    unknown = np.repeat(bundle.ids[[offset]], len(rows), axis=0)
    return _Slots(bundle.ids[offset + rows], unknown, group.reshape(-1), first)

  def _of_pictures(self, kind: Kind, rows: Int[np.ndarray, " n"]) -> _Slots:
    bundle, first = self._bundle, len(self.parts)
    for place, row in enumerate(rows.tolist()):
      # Behind the bundle's rows lie pictures that a server was sent.
      known = row < len(bundle.image_keys)
      name = (bundle.image_keys[row] or "no picture") if known else "uploaded"
      self.parts.append(Part(kind, "", name, place, 0.0))
    vectors = bundle.images[rows]
    baseline = np.repeat(_mean_picture(bundle)[None], len(rows), axis=0)
    return _Slots(vectors, baseline, np.arange(len(rows)), first)

  def __call__(self, points: path_sums.Points) -> Float[np.ndarray, " P"]:
    """The logit at each point."""
    found = [
      self._score(path_sums.Points(*(part[i : i + _POINTS] for part in points)))
      for i in range(0, len(points.level), _POINTS)
    ]
    return logits(np.concatenate(found))

  def _score(self, points: path_sums.Points) -> Float[np.ndarray, " P"]:
    bundle, log = self._bundle, self._log
    # All levels that occur: a table has each group's vector at each.
    levels, at = np.unique(
      np.concatenate([points.level, points.moved_level]), return_inverse=True
    )
    at, moved_at = np.split(at.reshape(-1), 2)
    where = _Where(levels, at, points.moved, moved_at)
    ids = {
      name: np.concatenate([bundle.ids[:1], _table(slots, levels)])
      for name, slots in self._ids.items()
    }
    rows = {name: 1 + where.rows(slots) for name, slots in self._ids.items()}
    tables = [_table(self._past, levels), _table(self._ad, levels)]
    past, shown = where.rows(self._past), where.rows(self._ad)
    images = np.concatenate([bundle.images[:1], *tables])
    count = len(at)
    asked = click_log.ClickLog(
      user_ids={
        name: _lists(rows[name], lists.weights)
        for name, lists in log.user_ids.items()
      },
      ad_ids={name: rows[name][:, 0] for name in log.ad_ids},
      ad_lists={
        name: _lists(rows[name], lists.weights)
        for name, lists in log.ad_lists.items()
      },
      user_dense=_repeated(log.user_dense, count),
      ad_dense=_repeated(log.ad_dense, count),
      behaviour_images=_lists(1 + past, None),
      ad_image=(
        1 + len(tables[0]) + shown[:, 0]
        if shown.shape[1]
        else np.zeros(count, np.int64)
      ),
      label=np.zeros(count, np.float32),
      group=np.arange(count),
      user=np.zeros(count, np.int64),
    )
    small = what_if.with_tables(bundle, ids, images)
    return what_if.scorer(small, self._engine)(asked)


class _Where(NamedTuple):
  """Which vector of the tables each point reads."""

  levels: Float[np.ndarray, " k"]
  at: Int[np.ndarray, " P"]
  """Level of all groups but one, as a place in `levels`."""
  moved: Int[np.ndarray, " P"]
  moved_at: Int[np.ndarray, " P"]

  def rows(self, slots: _Slots) -> Int[np.ndarray, "P entries"]:
    """Rows of `_table`."""
    is_moved = slots.group == (self.moved - slots.first)[:, None]
    level = np.where(is_moved, self.moved_at[:, None], self.at[:, None])
    return level * len(slots.vectors) + slots.group


def _table(
  slots: _Slots, levels: Float[np.ndarray, " k"]
) -> Float[np.ndarray, "kg D"]:
  """Vectors of all groups at each level, level after level."""
  way = levels[:, None, None] * (slots.vectors - slots.baseline)
  flat = (slots.baseline + way).reshape(-1, slots.vectors.shape[1])
  return flat.astype(np.float32)


def _lists(rows: Int[np.ndarray, "P L"], weights) -> click_log.Jagged:
  count, length = rows.shape
  if weights is not None:
    weights = np.tile(weights, count)
  return click_log.Jagged(
    rows.reshape(-1), np.arange(count + 1) * length, weights
  )


def _repeated(numbers: np.ndarray | None, count: int):
  return None if numbers is None else np.repeat(numbers, count, axis=0)


def _mean_picture(bundle: bundle_lib.Bundle) -> Float[np.ndarray, " E"]:
  """Mean vector of all pictures that have a name."""
  # Not `image_of`, to which a server adds pictures meanwhile.
  named = [
    row
    for row, key in enumerate(bundle.image_keys)
    if key and row != bundle.fields.no_image
  ]
  return bundle.images[named].mean(axis=0) if named else bundle.images[0]
