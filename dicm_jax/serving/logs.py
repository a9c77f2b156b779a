"""Page views to score, as click logs without labels: cut and joined."""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
from typing import Any

from jaxtyping import Int
import numpy as np

from dicm_jax.data import click_log, history


def blocks(log: click_log.ClickLog, most: int) -> Iterator[slice]:
  """Page views, as many at a time as have `most` samples, at least one."""
  starts = starts_of(log)
  first = 0
  while first < log.num_groups:
    bound = np.searchsorted(starts, starts[first] + most, side="right")
    end = max(min(int(bound) - 1, log.num_groups), first + 1)
    yield slice(first, end)
    first = end


def starts_of(log: click_log.ClickLog) -> Int[np.ndarray, " starts"]:
  """First sample of each page view, and the end of all."""
  return np.searchsorted(log.group, np.arange(log.num_groups + 1))


def part(log: click_log.ClickLog, groups: slice) -> click_log.ClickLog:
  """Some page views, side by side, as a log of their own."""
  starts = starts_of(log)
  samples = slice(int(starts[groups.start]), int(starts[groups.stop]))
  return _mapped(
    [log],
    of_samples=lambda arrays: arrays[0][samples],
    of_groups=lambda arrays: arrays[0][groups],
    lists_of_samples=lambda lists: _cut(lists[0], samples),
    lists_of_groups=lambda lists: _cut(lists[0], groups),
    group=log.group[samples] - groups.start,
  )


def shown(
  ads: click_log.ClickLog, rows: Int[np.ndarray, " n"], user: click_log.ClickLog
) -> click_log.ClickLog:
  """A page view of one user that shows some ads, some more than once perhaps.

  Args:
    ads: a page view that shows all.
    rows: which of its samples.
    user: a page view of the user.
  """
  lists = {k: history.take(v, rows) for k, v in ads.ad_lists.items()}
  return click_log.ClickLog(
    user_ids=user.user_ids,
    ad_ids={name: ids[rows] for name, ids in ads.ad_ids.items()},
    ad_lists=lists,
    user_dense=user.user_dense,
    ad_dense=None if ads.ad_dense is None else ads.ad_dense[rows],
    behaviour_images=user.behaviour_images,
    ad_image=ads.ad_image[rows],
    label=np.zeros(len(rows), np.float32),
    group=np.zeros(len(rows), np.int64),
    user=user.user,
  )


def joined(logs: Sequence[click_log.ClickLog]) -> click_log.ClickLog:
  """Logs of the same fields end to end."""
  if len(logs) == 1:
    return logs[0]
  before = np.cumsum([0, *(log.num_groups for log in logs[:-1])])
  groups = [log.group + n for log, n in zip(logs, before, strict=True)]
  return _mapped(
    logs,
    of_samples=np.concatenate,
    of_groups=np.concatenate,
    lists_of_samples=_end_to_end,
    lists_of_groups=_end_to_end,
    group=np.concatenate(groups),
  )


def _mapped(
  logs: Sequence[click_log.ClickLog],
  *,
  of_samples: Callable[[list[np.ndarray]], np.ndarray],
  of_groups: Callable[[list[np.ndarray]], np.ndarray],
  lists_of_samples: Callable[[list[click_log.Jagged]], click_log.Jagged],
  lists_of_groups: Callable[[list[click_log.Jagged]], click_log.Jagged],
  group: np.ndarray,
) -> click_log.ClickLog:
  """A log of the fields of others, each made of theirs."""
  first = logs[0]

  def each(name: str, made: Callable[[list[Any]], Any]) -> dict[str, Any]:
    fields = getattr(first, name)
    return {k: made([getattr(log, name)[k] for log in logs]) for k in fields}

  def numbers(name: str, made: Callable[[list[Any]], Any]):
    if getattr(first, name) is None:
      return None
    return made([getattr(log, name) for log in logs])

  return dataclasses.replace(
    first,
    user_ids=each("user_ids", lists_of_groups),
    ad_ids=each("ad_ids", of_samples),
    ad_lists=each("ad_lists", lists_of_samples),
    user_dense=numbers("user_dense", of_groups),
    ad_dense=numbers("ad_dense", of_samples),
    behaviour_images=lists_of_groups([log.behaviour_images for log in logs]),
    ad_image=of_samples([log.ad_image for log in logs]),
    label=of_samples([log.label for log in logs]),
    group=group,
    user=of_groups([log.user for log in logs]),
    time=None,
    query=None,
    true_probability=None,
  )


def _cut(lists: click_log.Jagged, keep: slice) -> click_log.Jagged:
  offsets = lists.offsets[keep.start : keep.stop + 1]
  span = slice(int(offsets[0]), int(offsets[-1]))
  weights = None if lists.weights is None else lists.weights[span]
  return click_log.Jagged(lists.values[span], offsets - offsets[0], weights)


def _end_to_end(lists: list[click_log.Jagged]) -> click_log.Jagged:
  lengths = np.concatenate([one.lengths for one in lists])
  weights = [one.weights for one in lists if one.weights is not None]
  return click_log.Jagged(
    np.concatenate([one.values for one in lists]),
    np.concatenate([[0], np.cumsum(lengths)]),
    np.concatenate(weights) if weights else None,
  )
