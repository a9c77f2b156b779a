"""Exact metrics of click predictions, in NumPy and in float64."""

from jaxtyping import Float, Int, Shaped
import numpy as np


def auc(
  label: Float[np.ndarray, " n"], score: Float[np.ndarray, " n"]
) -> float:
  """Probability that a click scores above a non-click, ties counted half.

  Args:
    label: 1 clicked, 0 not.
    score: any monotone score.

  Returns:
    AUC in [0, 1]; NaN where one of the labels is absent or a score is NaN.

  >>> auc(np.array([0., 1., 1.]), np.array([0.1, 0.1, 0.3]))
  0.75
  """
  if not len(label) or np.isnan(score).any():
    return float("nan")
  area, _ = auc_by_group(label, score, np.zeros(len(label), np.int64))
  return float(area[0])


def gauc(
  label: Float[np.ndarray, " n"],
  score: Float[np.ndarray, " n"],
  user: Shaped[np.ndarray, " n"],
) -> float:
  """AUC within each user, weighted by the user's impressions.

  Users whose impressions all have one label have no AUC and are left out of
  both sums.

  Source: DICM paper, section 5.1.

  Args:
    label: 1 clicked, 0 not.
    score: any score monotone within a user.
    user: key of the user of each impression.

  Returns:
    GAUC in [0, 1]; NaN where no user has both labels or a score is NaN.
  """
  if np.isnan(score).any():
    return float("nan")
  _, index = np.unique(user, return_inverse=True)
  area, impressions = auc_by_group(label, score, index)
  known = ~np.isnan(area)
  if not known.any():
    return float("nan")
  return float(np.average(area[known], weights=impressions[known]))


def within_ad_auc(
  label: Float[np.ndarray, " n"],
  score: Float[np.ndarray, " n"],
  ad: Shaped[np.ndarray, " n"],
) -> float:
  """AUC within each ad, weighted by the ad's impressions.

  GAUC with the ad in the user's place: does the model know who likes an ad,
  whatever it knows of which ads are liked?

  Args:
    label: 1 clicked, 0 not.
    score: any score monotone within an ad.
    ad: key of the ad of each impression.

  Returns:
    As `gauc`: ads whose impressions all have one label are left out.
  """
  return gauc(label, score, ad)


def auc_by_group(
  label: Float[np.ndarray, " n"],
  score: Float[np.ndarray, " n"],
  group: Int[np.ndarray, " n"],
) -> tuple[Float[np.ndarray, " g"], Int[np.ndarray, " g"]]:
  """AUC (NaN: one label only) and size of each group 0..max.

  Mann-Whitney: the sum of the clicks' ranks within their group, equal scores
  sharing the mean of their ranks.

  Args:
    label: 1 clicked, 0 not.
    score: no NaN among them.
    group: number of each impression's group, from 0.
  """
  order = np.lexsort((score, group))
  group, score = group[order], score[order]
  label = np.asarray(label, np.float64)[order]
  size = np.bincount(group)
  begins = np.ones(len(score), bool)
  begins[1:] = (group[1:] != group[:-1]) | (score[1:] != score[:-1])
  starts = np.flatnonzero(begins)
  run = np.diff(starts, append=len(score))
  first = starts - (np.cumsum(size) - size)[group[starts]]
  rank = np.repeat(first + (run + 1) / 2, run)
  clicks = np.bincount(group, weights=label)
  others = size - clicks
  above = np.bincount(group, weights=label * rank) - clicks * (clicks + 1) / 2
  with np.errstate(invalid="ignore", divide="ignore"):
    return above / (clicks * others), size


def log_loss(
  label: Float[np.ndarray, " n"], probability: Float[np.ndarray, " n"]
) -> float:
  """Mean cross-entropy in nats; probabilities kept 1e-15 from 0 and 1.

  NaN where there are no samples.
  """
  if not len(label):
    return float("nan")
  return float(np.mean(log_losses(label, probability)))


def log_losses(
  label: Float[np.ndarray, " n"], probability: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
  """Cross-entropy of each sample in nats, as `log_loss` takes their mean."""
  p = np.clip(np.asarray(probability, np.float64), 1e-15, 1 - 1e-15)
  return -(label * np.log(p) + (1 - label) * np.log1p(-p))


def calibration(
  label: Float[np.ndarray, " n"], probability: Float[np.ndarray, " n"]
) -> float:
  """Clicks predicted per click that happened; 1 is right, NaN: no click."""
  clicks = float(np.sum(label, dtype=np.float64))
  predicted = float(np.sum(probability, dtype=np.float64))
  return predicted / clicks if clicks else float("nan")


def or_none(value: float) -> float | None:
  """The figure as JSON knows it: NaN, which is none, becomes null."""
  return None if np.isnan(value) else value
