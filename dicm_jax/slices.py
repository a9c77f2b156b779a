"""Figures of the parts of the test split: new ads, rare ads, short histories.

An average over all impressions hides where pictures help. Each cut below puts
an impression into one slice at most; slices.json holds the figures of all.
"""

from collections.abc import Callable

from jaxtyping import Bool, Float, Int
import numpy as np

from dicm_jax import metrics
from dicm_jax.data import click_log

Record = dict[str, float | int | str | None]
"""Figures of a slice; null where one label or all impressions are absent."""
Table = dict[str, list[Record]]
"""Slices by the name of their cut, in the order of what they are cut by."""

MS_A_DAY = 86_400_000
_NONE = -2
_NEW = -1


def table(
  data: click_log.Dataset, probability: Float[np.ndarray, " n"]
) -> Table:
  """Figures of each slice of the test split.

  Args:
    data: the data set.
    probability: prediction for each test sample.

  Returns:
    For each cut of CUTS its slices, empty ones too: slice (the name),
    impressions, clicks, auc, gauc, logloss and calibration. A cut by what the
    data set does not tell is left out.
  """
  out: Table = {}
  for name, (measure, lowest) in CUTS.items():
    values = measure(data)
    if values is not None:
      place = np.searchsorted(list(lowest.values()), values, side="right") - 1
      out[name] = [
        {"slice": part} | _figures(data.test, probability, place == number)
        for number, part in enumerate(lowest)
      ]
  return out


def _figures(
  log: click_log.ClickLog,
  probability: Float[np.ndarray, " n"],
  keep: Bool[np.ndarray, " n"],
) -> Record:
  label, probability = log.label[keep], probability[keep]
  user = log.user[log.group[keep]]
  return {
    "impressions": len(label),
    "clicks": int(label.sum()),
    "auc": metrics.or_none(metrics.auc(label, probability)),
    "gauc": metrics.or_none(metrics.gauc(label, probability, user)),
    "logloss": metrics.or_none(metrics.log_loss(label, probability)),
    "calibration": metrics.or_none(metrics.calibration(label, probability)),
  }


def ad_age_days(data: click_log.Dataset) -> Int[np.ndarray, " n"] | None:
  """Whole days since training first showed the ad's image.

  Args:
    data: the data set.

  Returns:
    -1 where training never showed it as an ad, -2 where there is no picture;
    0 where training showed it later only, as splits by user may. None where
    times are unknown.
  """
  train, test = data.train, data.test
  if train.time is None or test.time is None:
    return None
  never = np.iinfo(np.int64).max
  first = np.full(_num_images(data), never)
  np.minimum.at(first, train.ad_image, train.time[train.group])
  first = first[test.ad_image]
  passed = np.maximum(test.time[test.group] - first, 0) // MS_A_DAY
  return _known(data, np.where(first == never, _NEW, passed))


def ad_impressions(data: click_log.Dataset) -> Int[np.ndarray, " n"]:
  """How often training showed the ad's image; -2 where there is no picture."""
  shown = np.bincount(data.train.ad_image, minlength=_num_images(data))
  return _known(data, shown[data.test.ad_image])


def history_length(data: click_log.Dataset) -> Int[np.ndarray, " n"]:
  """Pictures of the user's earlier clicks that the impression comes with."""
  return data.test.behaviour_images.lengths[data.test.group]


def has_picture(data: click_log.Dataset) -> Int[np.ndarray, " n"]:
  """1 where the ad has a picture, else 0."""
  return click_log.with_picture(data, data.test).astype(np.int64)


Measure = Callable[[click_log.Dataset], Int[np.ndarray, " n"] | None]

CUTS: dict[str, tuple[Measure, dict[str, int]]] = {
  "ad_age_days": (
    ad_age_days,
    {
      "new": _NEW,
      "0-1": 0,
      "2-3": 2,
      "4-7": 4,
      "8-14": 8,
      "15-30": 15,
      "31+": 31,
    },
  ),
  "ad_impressions": (
    ad_impressions,
    {"never": 0, "1-9": 1, "10-99": 10, "100-999": 100, "1000+": 1000},
  ),
  "history_length": (
    history_length,
    {"0": 0, "1-9": 1, "10-49": 10, "50+": 50},
  ),
  "picture": (has_picture, {"missing": 0, "present": 1}),
}
"""What test samples are cut by, and the lowest value of each slice, rising."""


def _num_images(data: click_log.Dataset) -> int:
  """Rows that the ads of both splits need."""
  splits = (data.train.ad_image, data.test.ad_image)
  return 1 + max(int(rows.max(initial=0)) for rows in splits)


def _known(data: click_log.Dataset, values) -> Int[np.ndarray, " n"]:
  """The values of ads with a picture: all others share one image row."""
  return np.where(click_log.with_picture(data, data.test), values, _NONE)
