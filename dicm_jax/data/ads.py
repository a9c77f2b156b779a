"""The distinct ads of a split, among all its impressions."""

from jaxtyping import Int
import numpy as np

from dicm_jax.data import click_log


def first_samples(log: click_log.ClickLog) -> Int[np.ndarray, " A"]:
  """A sample of each distinct ad, the first that shows it, ascending.

  An ad is all that the ad side of a model reads: its ids, those of its
  context included, its lists with their weights, its numbers and its picture.
  """
  seen = [log.ad_image, *log.ad_ids.values()]
  seen += [_distinct_lists(lists) for lists in log.ad_lists.values()]
  if log.ad_dense is not None:
    seen.append(_distinct_rows(log.ad_dense))
  _, first = np.unique(np.stack(seen, axis=1), axis=0, return_index=True)
  return np.sort(first)


def _distinct_rows(numbers: np.ndarray) -> Int[np.ndarray, " n"]:
  """A number for each row, the same for equal ones."""
  _, index = np.unique(numbers, axis=0, return_inverse=True)
  return index.reshape(-1)  # NumPy 2.0 has another shape.


def _distinct_lists(lists: click_log.Jagged) -> Int[np.ndarray, " n"]:
  """A number for each list, the same for equal ones."""
  known: dict[bytes, int] = {}
  out = np.empty(len(lists.offsets) - 1, np.int64)
  for i in range(len(out)):
    span = slice(lists.offsets[i], lists.offsets[i + 1])
    parts = [lists.values[span].tobytes()]
    if lists.weights is not None:
      parts.append(lists.weights[span].tobytes())
    out[i] = known.setdefault(b"".join(parts), len(known))
  return out
