"""Who is shown which photographs on which day, in the built-in sample.

Clicks do not feed back into what is shown: the shop shows every user the same
mixture, so that a photograph's clicks tell of the photograph alone.
"""

import dataclasses

from jaxtyping import Bool, Float, Int
import numpy as np

# Impressions of one page view; their mean is 10.
SESSION_LENGTHS = (8, 12)
# Share of the impressions, were all shown at once, of the photographs that
# are there from the first day and of those that enter on the last.
FIRST_SHARE, LAST_SHARE = 0.5, 0.2
# Probability that a user comes on a given day: between users it varies, as
# some come every other day and some twice a week.
VISIT_RATES = (0.4, 0.65)
# The last day is the test: a day of high traffic, for tight estimates.
LAST_VISIT_RATE = 0.8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Traffic:
  """Impressions by day, user and place: groups of one user's page view."""

  entry_day: Int[np.ndarray, " R"]
  """Day on which each photograph is first shown, from 0."""
  day: Int[np.ndarray, " G"]
  user: Int[np.ndarray, " G"]
  group: Int[np.ndarray, " n"]
  """Group of each impression, ascending."""
  image: Int[np.ndarray, " n"]
  place: Int[np.ndarray, " n"]
  """Place on the page, from 0."""


def draw_traffic(
  rng: np.random.Generator,
  popularity: Float[np.ndarray, " R"],
  *,
  num_users: int,
  num_days: int,
) -> Traffic:
  """Draws the page views, one a user and day at most.

  Args:
    rng: the source of randomness.
    popularity: log rate at which each photograph is shown.
    num_users: users, of which each comes on some of the days.
    num_days: days; new photographs enter on each.

  Returns:
    The impressions, ordered by day, then user, then place.
  """
  entry_day = _entry_days(rng, popularity, num_days)
  day, user = _visits(rng, num_users, num_days)
  pages_a_day = np.bincount(day, minlength=num_days).tolist()
  pages = [
    _pages(rng, np.where(entry_day <= d, popularity, -np.inf), count)
    for d, count in enumerate(pages_a_day)
  ]
  image = np.concatenate(pages)
  shortest, longest = SESSION_LENGTHS
  length = rng.integers(shortest, longest + 1, len(day))
  shown: Bool[np.ndarray, "G P"] = np.arange(longest) < length[:, None]
  group, place = np.nonzero(shown)
  return Traffic(
    entry_day=entry_day,
    day=day,
    user=user,
    group=group,
    image=image[shown],
    place=place,
  )


def _entry_days(
  rng: np.random.Generator, popularity: Float[np.ndarray, " R"], num_days: int
) -> Int[np.ndarray, " R"]:
  """Lets photographs enter in random order, measured by how much is shown.

  Shares of impressions rather than of photographs: the share of the last
  day's impressions that no model has seen before is then set by LAST_SHARE.
  """
  order = rng.permutation(len(popularity))
  share = np.cumsum(np.exp(popularity[order]))
  share /= share[-1]
  step = (1 - FIRST_SHARE - LAST_SHARE) / (num_days - 2)
  days = 1 + np.floor((share - FIRST_SHARE) / step).astype(int)
  days = np.clip(days, 0, num_days - 2)
  days[share > 1 - LAST_SHARE] = num_days - 1
  entry_day = np.empty_like(days)
  entry_day[order] = days
  return entry_day


def _visits(
  rng: np.random.Generator, num_users: int, num_days: int
) -> tuple[Int[np.ndarray, " G"], Int[np.ndarray, " G"]]:
  """The days and users of all page views, ordered by day, then user."""
  rate = np.tile(rng.uniform(*VISIT_RATES, num_users), (num_days, 1))
  rate[-1] = LAST_VISIT_RATE
  day, user = np.nonzero(rng.random((num_days, num_users)) < rate)
  return day, user


def _pages(
  rng: np.random.Generator, log_rate: Float[np.ndarray, " R"], count: int
) -> Int[np.ndarray, "count P"]:
  """Fills pages with different photographs, drawn by their rates.

  The largest of log rate + Gumbel noise are a draw without replacement.
  """
  length = SESSION_LENGTHS[1]
  key = log_rate + rng.gumbel(size=(count, len(log_rate)))
  top = np.argpartition(-key, length, axis=1)[:, :length]
  # Shuffled by the draw's own order: what sells tends to stand first.
  order = np.argsort(-np.take_along_axis(key, top, 1), axis=1)
  return np.take_along_axis(top, order, 1)
