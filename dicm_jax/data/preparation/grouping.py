"""Events of some users to page views: order, groups, split, past clicks.

A group is one page view: impressions of one user at one time. All of a user's
events are at hand at once, so nothing here depends on how a log was cut into
files or in what order they were read.
"""

import dataclasses
import math

from jaxtyping import Bool, Float, Int
import numpy as np
import pyarrow as pa

from dicm_jax import errors
from dicm_jax.data import click_log, history
from dicm_jax.data import schema as schema_lib

MS_A_DAY = 86_400_000
MAX_USER_EVENTS = 1 << 22
"""Events of one user, at most."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grouped:
  """Events in order, and the groups they fall into."""

  events: pa.Table
  """By user, then time of the group, then as the log has them."""
  group: Int[np.ndarray, " n"]
  """Group of each event, ascending from 0 without gaps."""
  user: Int[np.ndarray, " G"]
  """Number of each group's user among these users, ascending from 0."""
  time: Int[np.ndarray, " G"]
  """Milliseconds since 1970 of each group's first event."""
  test: Bool[np.ndarray, " G"]

  @property
  def first(self) -> Int[np.ndarray, " G"]:
    """First event of each group."""
    return np.flatnonzero(np.diff(self.group, prepend=-1))

  @property
  def label(self) -> Float[np.ndarray, " n"]:
    return self.events["label"].to_numpy()


def check_users(events: pa.Table) -> None:
  """Refuses a user whose events would not fit into memory.

  Raises:
    InputError: there is one.
  """
  if len(events) <= MAX_USER_EVENTS:
    return
  users = events["user"].value_counts()
  most = int(np.argmax(users.field("counts").to_numpy()))
  count = users.field("counts")[most].as_py()
  if count > MAX_USER_EVENTS:
    raise errors.InputError(
      f"user {users.field('values')[most].as_py()!r}: expected at most "
      f"{MAX_USER_EVENTS:,} events, found {count:,}, which are held in memory "
      "as a whole. Does it stand for unknown users? Give each visit a user of "
      "its own, or leave them out"
    )


def group(
  events: pa.Table, schema: schema_lib.Schema, test_from: int
) -> Grouped:
  """Sorts events and marks their groups and split.

  Args:
    events: as `schema.block_schema`, with the column `file` int32.
    schema: of the log.
    test_from: with split rule time, the first test moment, in ms since 1970.
  """
  user = _codes(events["user"])
  page = (
    _codes(events["group"]) if schema.log.group else _numbers(events, "time")
  )
  start = _page_start(user, page, _numbers(events, "time"))
  order = np.lexsort(
    (_numbers(events, "line"), _numbers(events, "file"), page, start, user)
  )
  events = events.take(pa.array(order))
  user, page, start = user[order], page[order], start[order]
  begins = (np.diff(user, prepend=-1) != 0) | (
    np.diff(page, prepend=page[:1] - 1) != 0
  )
  group = np.cumsum(begins) - 1
  user, start = user[begins], start[begins]
  return Grouped(
    events=events,
    group=group,
    user=user,
    time=start,
    test=_in_test(schema.split, events, begins, user, start, test_from),
  )


def _page_start(user, page, time):
  """The earliest time of each event's page view."""
  order = np.lexsort((time, page, user))
  begins = (np.diff(user[order], prepend=-1) != 0) | (
    np.diff(page[order], prepend=page[order][:1] - 1) != 0
  )
  start = np.empty_like(time)
  start[order] = time[order][begins][np.cumsum(begins) - 1]
  return start


def _in_test(split: schema_lib.Split, events, begins, user, start, test_from):
  """Which groups test the model."""
  if split.rule == "time":
    return start >= test_from
  if split.rule == "column":
    flags = events["test"].to_numpy().astype(bool)
    return np.logical_or.reduceat(flags, np.flatnonzero(begins))
  # A user's last page views; the first one always trains.
  count = np.bincount(user)
  rank = np.arange(len(user)) - (np.cumsum(count) - count)[user]
  tested = np.minimum(np.ceil(count * split.test_share), count - 1)
  return rank >= (count - tested)[user]


def test_moment(split: schema_lib.Split, newest: int) -> int:
  """First moment of the test split with rule time, in ms since 1970.

  Args:
    split: rule of the split.
    newest: time of the log's newest event.
  """
  if split.test_from:
    return split.test_from_ms
  return newest - math.ceil(split.test_days * MS_A_DAY) + 1


def past_clicks(
  grouped: Grouped, rule: schema_lib.History, groups: slice = slice(None)
) -> tuple[click_log.Jagged, int]:
  """Earlier clicks of some groups as numbers of events, oldest first.

  Strictly before the group: a click at the group's own time could be its own
  label.

  Returns:
    The lists, and how many clicks the maximum length cut off.
  """
  clicked = grouped.label == 1
  if rule.min_dwell:
    dwell = grouped.events["dwell"].fill_null(0).to_numpy()
    clicked &= dwell >= rule.min_dwell
  clicks = np.flatnonzero(clicked)
  times = _numbers(grouped.events, "time")
  return history.earlier_clicks(
    group_user=grouped.user[groups],
    group_time=grouped.time[groups],
    click_user=grouped.user[grouped.group[clicks]],
    click_time=times[clicks],
    click_value=clicks,
    max_history=rule.max_length,
    window=round(rule.window_days * MS_A_DAY),
  )


def _codes(column: pa.ChunkedArray) -> Int[np.ndarray, " n"]:
  """Number of each string in the sorted list of those that occur."""
  encoded = column.combine_chunks().dictionary_encode()
  texts = encoded.dictionary.to_numpy(zero_copy_only=False)
  _, ranks = np.unique(texts, return_inverse=True)
  return ranks[encoded.indices.to_numpy()].astype(np.int64)


def _numbers(table: pa.Table, name: str) -> Int[np.ndarray, " n"]:
  return table[name].to_numpy().astype(np.int64)
