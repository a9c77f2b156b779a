"""Behaviour histories: what a user clicked strictly before a page view."""

from jaxtyping import Int
import numpy as np

from dicm_jax.data import click_log


def earlier_clicks(
  *,
  group_user: Int[np.ndarray, " G"],
  group_time: Int[np.ndarray, " G"],
  click_user: Int[np.ndarray, " k"],
  click_time: Int[np.ndarray, " k"],
  click_value: Int[np.ndarray, " k"],
  max_history: int,
  window: int = 0,
) -> tuple[click_log.Jagged, int]:
  """Lists each group's latest earlier clicks, oldest first.

  Clicks of the group's own time stay out: a history that holds the present
  would tell the label.

  Args:
    group_user: user of each group.
    group_time: time of each group's first impression.
    click_user: user of each click.
    click_time: time of each click; equal times keep their order.
    click_value: what is listed: the image row of each click.
    max_history: at least 1; older clicks are left out and counted.
    window: clicks more than so long before the group stay out; 0: none do.

  Returns:
    The lists, and how many entries the maximum cut off over all groups.
  """
  # Times as their ranks: a product of users and times may pass 64 bits, one
  # of users and ranks cannot.
  times, rank = np.unique(click_time, return_inverse=True)
  moments = len(times) + 1
  click_key = click_user.astype(np.int64) * moments + rank
  order = np.argsort(click_key, kind="stable")
  sorted_key = click_key[order]

  def clicks_before(moment: Int[np.ndarray, " G"]) -> Int[np.ndarray, " G"]:
    """Number of the first click of each group's user from its moment on."""
    earlier = np.searchsorted(times, moment)
    keys = group_user.astype(np.int64) * moments + earlier
    return np.searchsorted(sorted_key, keys)

  end = clicks_before(group_time)
  if window:
    first = clicks_before(group_time - window)
  else:
    first = np.searchsorted(sorted_key, group_user.astype(np.int64) * moments)
  start = np.maximum(first, end - max_history)
  length = end - start
  offsets = np.concatenate([[0], np.cumsum(length)])
  within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], length)
  values = click_value[order[np.repeat(start, length) + within]]
  return click_log.Jagged(values, offsets), int((start - first).sum())


def take(
  jagged: click_log.Jagged, keep: Int[np.ndarray, " g"]
) -> click_log.Jagged:
  """Keeps some of the lists.

  Args:
    jagged: the lists.
    keep: numbers of the lists to keep, in the new order.

  Returns:
    The kept lists.

  >>> lists = click_log.Jagged(np.array([5, 6, 7]), np.array([0, 1, 3]))
  >>> take(lists, np.array([1])).values.tolist()
  [6, 7]
  """
  length = jagged.lengths[keep]
  offsets = np.concatenate([[0], np.cumsum(length)])
  shift = np.repeat(jagged.offsets[:-1][keep] - offsets[:-1], length)
  places = np.arange(offsets[-1]) + shift
  weights = None if jagged.weights is None else jagged.weights[places]
  return click_log.Jagged(jagged.values[places], offsets, weights)
