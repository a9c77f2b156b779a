"""What retrieval has to find: the clicks of the test split, by items' keys."""

from collections.abc import Sequence
import dataclasses

from jaxtyping import Int
import numpy as np

from dicm_jax import errors
from dicm_jax.data import click_log, history

NONE = -1
"""In place of an item's number: none of the items."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeldOut:
  """Page views of the test split that have a click, and something to ask by."""

  past: click_log.Jagged
  """Numbers of the items that the user clicked before."""
  clicked: click_log.Jagged
  """Numbers of the items clicked on the page view, distinct."""
  query: Int[np.ndarray, " P"] | None
  """What was searched for, a place in Dataset.queries; None: nobody knows."""
  user: Int[np.ndarray, " P"]
  """Number of each page view's user, from 0."""
  left_out: int
  """Page views without a click or without what to ask by."""

  def take(self, some: Int[np.ndarray, " p"]) -> "HeldOut":
    """Some of the page views."""
    return HeldOut(
      past=history.take(self.past, some),
      clicked=history.take(self.clicked, some),
      query=None if self.query is None else self.query[some],
      user=self.user[some],
      left_out=self.left_out,
    )


def hold_out(
  data: click_log.Dataset,
  keys: Sequence[str],
  *,
  new_only: bool = False,
  ask: str = "history",
) -> HeldOut:
  """The page views of the test split, in numbers of the items.

  Args:
    data: the data set.
    keys: of the items, which are names of its images. What the log tells of
      other images is left out of histories and clicks.
    new_only: whether clicks on items of the history are left out too.
    ask: what page views must have beside a click, history or query.

  Raises:
    InputError: there are no such page views.
  """
  log, items = data.test, item_of_image(data, keys)
  count, click = log.num_groups, log.label == 1
  behaviours = log.behaviour_images
  owner = np.repeat(np.arange(count), behaviours.lengths)
  past = _lists(owner, items[behaviours.values], count)
  group, item = _distinct(log.group[click], items[log.ad_image[click]])
  if new_only:
    new = ~_among(group, item, past)
    group, item = group[new], item[new]
  clicked = _lists(group, item, count)
  asks = past.lengths > 0 if ask == "history" else _has_query(log)
  keep = np.flatnonzero(asks & (clicked.lengths > 0))
  if not len(keep):
    raise errors.InputError(
      f"expected page views of the test split with a {ask} and a click among "
      f"the {len(keys)} items; none of {count} has both"
    )
  return HeldOut(
    past=history.take(past, keep),
    clicked=history.take(clicked, keep),
    query=None if log.query is None else log.query[keep],
    user=np.unique(log.user[keep], return_inverse=True)[1],
    left_out=count - len(keep),
  )


def _has_query(log: click_log.ClickLog) -> np.ndarray:
  if log.query is None:
    return np.zeros(log.num_groups, bool)
  return log.query >= 0


def item_of_image(
  data: click_log.Dataset, keys: Sequence[str]
) -> Int[np.ndarray, " R"]:
  """Number of the item that each image row is; NONE: it is none of them."""
  number = {key: i for i, key in enumerate(keys)}
  # Without pictures all samples have image row 0.
  names = data.image_names or ("",)
  out = np.array([number.get(name, NONE) for name in names], np.int64)
  if data.no_image is not None:
    out[data.no_image] = NONE
  return out


def by_popularity(
  data: click_log.Dataset, keys: Sequence[str]
) -> Int[np.ndarray, " I"]:
  """Numbers of the items by falling clicks in training, then by number."""
  log = data.train
  items = item_of_image(data, keys)[log.ad_image[log.label == 1]]
  counts = np.bincount(items[items != NONE], minlength=len(keys))
  return np.argsort(-counts, kind="stable")


def _lists(owner, item, count: int) -> click_log.Jagged:
  """A list for each owner, of items whose owners ascend; NONE is left out."""
  known = item != NONE
  lengths = np.bincount(owner[known], minlength=count)
  return click_log.Jagged(item[known], np.concatenate([[0], lengths.cumsum()]))


def _distinct(group, item) -> tuple[np.ndarray, np.ndarray]:
  """Each pair once, in their order; NONE is left out."""
  pairs = np.stack([group, item], axis=1)[item != NONE]
  pairs = np.unique(pairs, axis=0)
  return pairs[:, 0], pairs[:, 1]


def _among(group, item, past: click_log.Jagged) -> np.ndarray:
  """Whether each item is in its group's list."""
  size = 1 + max(item.max(initial=0), past.values.max(initial=0))
  owner = np.repeat(np.arange(len(past.lengths)), past.lengths)
  return np.isin(group * size + item, owner * size + past.values)
