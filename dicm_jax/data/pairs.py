"""Pairs of a clicked and a not clicked item of one page view.

The anchor is what the user clicked last before it, or what he searched for. A
pair teaches an encoder that the clicked item is nearer to the anchor than the
other one.
Source: CNN embeddings for ad ranking, JD.com, stage 1 (pairwise training).
"""

from collections.abc import Callable
import functools
from typing import NamedTuple

from jaxtyping import Bool, Int
import numpy as np

from dicm_jax import errors
from dicm_jax.data import click_log

NONE = -1
"""In place of an anchor: the page view has none."""


class Anchors(NamedTuple):
  """What each page view is anchored to."""

  of_group: Int[np.ndarray, " G"]
  """An image row or a place in the queries; NONE: nothing is known."""
  what: str
  """For messages."""


class Pairs(NamedTuple):
  """P pairs of items and their anchors."""

  anchor: Int[np.ndarray, " P"]
  """As in `Anchors`."""
  clicked: Int[np.ndarray, " P"]
  """Image rows."""
  other: Int[np.ndarray, " P"]
  """Shown beside it and not clicked."""

  def take(self, places: Int[np.ndarray, " B"]) -> "Pairs":
    """The pairs at these places."""
    return Pairs(*(rows[places] for rows in self))


Order = Callable[[int], Pairs]
"""Step -> the pairs of its batch."""


class Clicks(NamedTuple):
  """Samples that can be the better half of a pair, and their counterparts."""

  sample: Int[np.ndarray, " P"]
  """Clicked, with an anchor and something not clicked beside it."""
  anchor: Int[np.ndarray, " P"]
  """As in `Anchors`."""
  first: Int[np.ndarray, " P"]
  """Place of its page view's first counterpart in `others`."""
  choices: Int[np.ndarray, " P"]
  """Counterparts of its page view."""
  others: Int[np.ndarray, " Q"]
  """Samples that were not clicked, by page view."""


def last_clicks(log: click_log.ClickLog) -> Anchors:
  """Anchors at what the user clicked last before each page view.

  That is the last behaviour image: where the log lists them itself, and lists
  the main item of the page alone, it is that item.
  """
  history = log.behaviour_images
  known = history.lengths > 0
  last = np.full(log.num_groups, NONE, np.int64)
  last[known] = history.values[history.offsets[1:][known] - 1]
  return Anchors(last, "an earlier click of the user")


def queries(log: click_log.ClickLog) -> Anchors:
  """Anchors at what the user of each page view searched for.

  Raises:
    InputError: the data set says nothing of queries.
  """
  if log.query is None:
    raise errors.InputError(
      "pairs.anchor='query': the data set has no search queries; prepare it "
      'with [log] query = "COLUMN" in its schema, the column of their texts'
    )
  return Anchors(log.query, "a search query")


def find(
  log: click_log.ClickLog, has_picture: Bool[np.ndarray, " n"], anchors: Anchors
) -> Clicks:
  """Finds all clicks that pairs can be made of.

  Args:
    log: a split.
    has_picture: samples whose ad has one; others are left out.
    anchors: of the split's page views.

  Raises:
    InputError: there is none.
  """
  clicked = (log.label > 0.5) & has_picture
  others = np.flatnonzero((log.label <= 0.5) & has_picture)
  of_group = np.searchsorted(log.group[others], np.arange(log.num_groups + 1))
  known = anchors.of_group != NONE
  count = np.diff(of_group)
  usable = clicked & (known & (count > 0))[log.group]
  sample = np.flatnonzero(usable)
  if not len(sample):
    raise errors.InputError(
      "pairwise training: expected page views with a click, an impression not "
      f"clicked and {anchors.what}, found none in the data set"
    )
  group = log.group[sample]
  return Clicks(
    sample,
    anchors.of_group[group],
    of_group[:-1][group],
    count[group],
    others,
  )


def draw(
  clicks: Clicks, rng: np.random.Generator
) -> tuple[Int[np.ndarray, " P"], Int[np.ndarray, " P"]]:
  """Pairs each click with one of the impressions beside it, at random.

  Returns:
    Sample numbers of the clicked and the other items.
  """
  chosen = clicks.first + rng.integers(0, clicks.choices)
  return clicks.sample, clicks.others[chosen]


def shuffled(
  log: click_log.ClickLog, clicks: Clicks, seed: int, batch_size: int
) -> Order:
  """Endless epochs, each with an order and counterparts of its own.

  As in `pipeline`, batch k is a pure function of (seed, k).
  """
  n = len(clicks.sample)

  # Threads of the pipeline ask for neighbouring batches, so of two epochs.
  @functools.lru_cache(maxsize=2)
  def epoch(number: int) -> Pairs:
    rng = np.random.Generator(np.random.Philox(key=[seed, number]))
    clicked, other = (log.ad_image[rows] for rows in draw(clicks, rng))
    return Pairs(clicks.anchor, clicked, other).take(rng.permutation(n))

  def order(step: int) -> Pairs:
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs = places // n
    parts = [
      epoch(e).take(places[epochs == e] % n) for e in np.unique(epochs).tolist()
    ]
    return Pairs(*map(np.concatenate, zip(*parts, strict=True)))

  return order
