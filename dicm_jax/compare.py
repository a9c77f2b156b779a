"""Two runs on one test split: differences, and how sure they are."""

from typing import Any, NamedTuple

from jaxtyping import Float
import numpy as np

from dicm_jax import bootstrap, errors, metrics
from dicm_jax.data import click_log


class Prediction(NamedTuple):
  """What a run predicts of its test split."""

  data: click_log.Dataset
  probability: Float[np.ndarray, " n"]


def compare(a: Prediction, b: Prediction) -> dict[str, Any]:
  """Metrics of two runs and the paired interval of their difference.

  Paired: each replicate draws the users once and takes both runs' metric on
  them. What makes users easy or hard cancels out, so this interval is much
  narrower than those of the runs alone.

  Args:
    a: a run.
    b: another; a positive difference says that `a` has the larger figure,
      which for logloss is the worse.

  Returns:
    impressions, users, and metrics: for auc, gauc, logloss and auc_cold (over
    ad images that neither run has seen in training) an object of a, b,
    difference = a - b, low, high, and excludes_0: whether the interval does.
    All are null where a run has no such figure.

  Raises:
    InputError: the test splits differ.
  """
  check_same_test(a.data.test, b.data.test)
  log = a.data.test
  cold = click_log.cold_samples(a.data.train, log)
  cold &= click_log.cold_samples(b.data.train, b.data.test)
  num_users = len(np.unique(log.user))
  of_a = bootstrap.statistics(log, a.probability, cold)
  of_b = bootstrap.statistics(log, b.probability, cold)
  drawn = bootstrap.resample(
    {f"a {name}": statistic for name, statistic in of_a.items()}
    | {f"b {name}": statistic for name, statistic in of_b.items()},
    num_users,
  )
  once = np.ones(num_users, np.int64)
  return {
    "impressions": log.num_samples,
    "users": num_users,
    "metrics": {
      name: _difference(
        of_a[name](once),
        of_b[name](once),
        drawn[f"a {name}"] - drawn[f"b {name}"],
      )
      for name in of_a
    },
  }


def _difference(a: float, b: float, drawn: Float[np.ndarray, " R"]):
  low, high = bootstrap.interval(drawn)
  return {
    "a": metrics.or_none(a),
    "b": metrics.or_none(b),
    "difference": metrics.or_none(a - b),
    "low": low,
    "high": high,
    "excludes_0": None if low is None or high is None else low > 0 or high < 0,
  }


def check_same_test(a: click_log.ClickLog, b: click_log.ClickLog) -> None:
  """Looks whether two test splits are impressions of one log, in one order.

  Raises:
    InputError: their sizes, labels or users differ.
  """
  if a.num_samples != b.num_samples:
    raise errors.InputError(
      "--against: expected a run on the same test split, of "
      f"{a.num_samples} impressions, found {b.num_samples}"
    )
  for what, one, other in (
    ("labels", a.label, b.label),
    ("users", bootstrap.users(a), bootstrap.users(b)),
  ):
    apart = np.flatnonzero(one != other)
    if len(apart):
      raise errors.InputError(
        f"--against: expected a run on the same test split; its {what} differ "
        f"at {len(apart)} of {a.num_samples} impressions, first at number "
        f"{apart[0]}"
      )
