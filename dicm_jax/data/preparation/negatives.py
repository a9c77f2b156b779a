"""Samples made up for logs that hold positives only."""

from typing import NamedTuple

from jaxtyping import Float, Int
import numpy as np

from dicm_jax.data import schema as schema_lib

_ROUNDS = 100
"""Draws before giving up on a user who took nearly every item."""


class Drawn(NamedTuple):
  """Negatives, in order of the positives they stand beside."""

  event: Int[np.ndarray, " m"]
  """The positive, as a number of an event."""
  item: Int[np.ndarray, " m"]
  missing: int
  """How many could not be drawn."""


def draw(
  *,
  user: Int[np.ndarray, " n"],
  item: Int[np.ndarray, " n"],
  label: Float[np.ndarray, " n"],
  rule: schema_lib.Negatives,
  popularity: Float[np.ndarray, " I"],
  partition: int,
) -> Drawn:
  """Draws items for each positive, never one that its user ever took.

  "Ever" spans training and test: a negative of training that is a positive of
  the test would be a wrong lesson.

  Args:
    user: of each event, from 0; all of a user's events are here.
    item: of each event, a line of the item table; I where it has none.
    label: of each event.
    rule: how many, and the seed.
    popularity: chance of each item to be drawn, adding up to 1.
    partition: number of this set of users, part of the seed.
  """
  count = len(popularity)
  positive = np.flatnonzero(label == 1)
  taken = np.unique(
    user[positive].astype(np.int64) * (count + 1) + item[positive]
  )
  event = np.repeat(positive, rule.per_positive)
  whose = user[event].astype(np.int64) * (count + 1)
  rng = np.random.Generator(np.random.Philox(key=[rule.seed, partition]))
  sums = np.cumsum(popularity)
  found = np.full(len(event), -1, np.int64)
  open_ = np.arange(len(event))
  for _ in range(_ROUNDS):
    if not len(open_):
      break
    draws = np.searchsorted(sums, rng.random(len(open_)) * sums[-1], "right")
    draws = np.minimum(draws, count - 1)
    good = ~np.isin(whose[open_] + draws, taken)
    found[open_[good]] = draws[good]
    open_ = open_[~good]
  kept = found >= 0
  return Drawn(event[kept], found[kept], int((~kept).sum()))


def chances(
  positives: Int[np.ndarray, " I"], sampling: str
) -> Float[np.ndarray, " I"]:
  """Chance of each item to be drawn.

  Args:
    positives: of each item, in the training split.
    sampling: uniform, or popularity: in proportion to the positives.
  """
  if sampling == "uniform" or not positives.sum():
    return np.full(len(positives), 1 / max(len(positives), 1))
  return positives / positives.sum()
