"""How sure a figure is: bootstrap intervals that resample users.

Impressions of one user are alike, so whole users are drawn with replacement
(the cluster bootstrap: Efron and Tibshirani, An Introduction to the Bootstrap,
1993, section 8.3 and for percentile intervals chapter 13). No array is rebuilt:
a replicate is how many times each user was drawn, and a statistic is a function
of these numbers that has sorted its samples once.
"""

from collections.abc import Callable, Mapping

from jaxtyping import Bool, Float, Int
import numpy as np

from dicm_jax import metrics
from dicm_jax.data import click_log

REPLICATES = 1000
LEVEL = 0.95
"""Share of replicates that an interval holds."""

Times = Int[np.ndarray, " U"]
"""How many times each user was drawn."""
Statistic = Callable[[Times], float]
"""Value on the drawn users; NaN where it is undefined on them."""


def auc(
  label: Float[np.ndarray, " n"],
  score: Float[np.ndarray, " n"],
  user: Int[np.ndarray, " n"],
) -> Statistic:
  """`metrics.auc` as a function of how many times each user counts.

  Args:
    label: 1 clicked, 0 not.
    score: any monotone score.
    user: number of each impression's user, from 0.

  Returns:
    The statistic, exact: it counts pairs in integers.
  """
  if np.isnan(score).any():
    return lambda _: float("nan")
  order = np.argsort(score)  # All in it, so that a replicate reads in order.
  label, score, user = label[order], score[order], user[order]
  clicked = label == 1
  click_user, other_user = user[clicked], user[~clicked]
  below = np.searchsorted(score[~clicked], score[clicked], side="left")
  not_above = np.searchsorted(score[~clicked], score[clicked], side="right")
  others = np.zeros(len(other_user) + 1, np.int64)

  def value(times) -> float:
    np.cumsum(times[other_user], out=others[1:])
    clicks = times[click_user]
    pairs = clicks.sum() * others[-1]
    if not pairs:
      return float("nan")
    twice = np.dot(clicks, others[below] + others[not_above])
    return float(twice / (2 * pairs))

  return value


def gauc(
  label: Float[np.ndarray, " n"],
  score: Float[np.ndarray, " n"],
  user: Int[np.ndarray, " n"],
) -> Statistic:
  """`metrics.gauc` as a function of how many times each user counts."""
  if np.isnan(score).any():
    return lambda _: float("nan")
  area, impressions = metrics.auc_by_group(label, score, user)
  impressions = np.where(np.isnan(area), 0, impressions)
  return _ratio(impressions * np.nan_to_num(area), impressions)


def log_loss(
  label: Float[np.ndarray, " n"],
  probability: Float[np.ndarray, " n"],
  user: Int[np.ndarray, " n"],
) -> Statistic:
  """`metrics.log_loss` as a function of how many times each user counts."""
  return mean(metrics.log_losses(label, probability), user)


def mean(
  values: Float[np.ndarray, " n"], user: Int[np.ndarray, " n"]
) -> Statistic:
  """The values' mean as a function of how many times each user counts."""
  return _ratio(np.bincount(user, values), np.bincount(user))


def _ratio(above, below) -> Statistic:
  """A ratio of two sums over users; each array has a number a user."""

  def value(times) -> float:
    times = times[: len(below)]  # The last users may have no sample here.
    total = np.dot(times, below)
    return float(np.dot(times, above) / total) if total else float("nan")

  return value


def statistics(
  log: click_log.ClickLog,
  probability: Float[np.ndarray, " n"],
  cold: Bool[np.ndarray, " n"],
) -> dict[str, Statistic]:
  """The figures of eval.json that have an interval.

  Args:
    log: the test split.
    probability: prediction for each of its samples.
    cold: marks samples whose ad image training has never seen.
  """
  label, user = log.label, users(log)
  return {
    "auc": auc(label, probability, user),
    "gauc": gauc(label, probability, user),
    "logloss": log_loss(label, probability, user),
    "auc_cold": auc(label[cold], probability[cold], user[cold]),
  }


def users(log: click_log.ClickLog) -> Int[np.ndarray, " n"]:
  """Number of each sample's user among the split's users, from 0."""
  return np.unique(log.user[log.group], return_inverse=True)[1]


def resample(
  wanted: Mapping[str, Statistic],
  num_users: int,
  *,
  replicates: int = REPLICATES,
  seed: int = 0,
) -> dict[str, Float[np.ndarray, " R"]]:
  """Values of the statistics on users drawn with replacement.

  All statistics see the same draws, so the difference of two is paired.

  Args:
    wanted: statistics by name.
    num_users: U, how many users there are, and how many are drawn.
    replicates: R, how often.
    seed: of the draws.
  """
  rng = np.random.default_rng(seed)
  out = np.empty((len(wanted), replicates))
  for r in range(replicates):
    drawn = rng.integers(num_users, size=num_users)
    times = np.bincount(drawn, minlength=num_users)
    out[:, r] = [statistic(times) for statistic in wanted.values()]
  return dict(zip(wanted, out, strict=True))


def interval(
  values: Float[np.ndarray, " R"],
) -> tuple[float | None, float | None]:
  """Percentile interval of the replicates.

  Args:
    values: of one statistic; NaN where a replicate has none.

  Returns:
    Bounds that hold LEVEL of the defined values; None: none is defined.
  """
  known = values[~np.isnan(values)]
  if not len(known):
    return None, None
  tail = (1 - LEVEL) / 2
  low, high = np.quantile(known, [tail, 1 - tail])
  return float(low), float(high)
