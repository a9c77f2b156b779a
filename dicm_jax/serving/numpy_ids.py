"""What a network reads of ids and numbers, side by side, by NumPy."""

from jaxtyping import Float
import numpy as np

from dicm_jax.data import click_log
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving.numpy_layers import reduced


class Ids:
  """Looks the ids of page views up.

  Args:
    bundle: whose tables they are in.
  """

  def __init__(self, bundle: bundle_lib.Bundle):
    self._table, self._layout = bundle.ids, bundle.fields.layout

  def of_ads(
    self, log: click_log.ClickLog, samples: slice
  ) -> Float[np.ndarray, "n A"]:
    """Vectors and numbers of some samples' ads and contexts."""
    offsets = self._layout.offsets
    parts = [
      self._table[log.ad_ids[name][samples] + offsets[name]]
      for name in self._layout.ad_fields
    ]
    parts += [
      self._pooled(log.ad_lists[name], samples, offsets[name])
      for name in self._layout.ad_list_fields
    ]
    if log.ad_dense is not None:
      parts.append(log.ad_dense[samples])
    count = samples.stop - samples.start
    return np.concatenate([np.zeros((count, 0), np.float32), *parts], axis=1)

  def of_users(
    self, log: click_log.ClickLog, groups: slice
  ) -> Float[np.ndarray, "G B"]:
    """Vectors and numbers of some page views' users."""
    parts = [
      self._pooled(log.user_ids[name], groups, self._layout.offsets[name])
      for name in self._layout.user_fields
    ]
    if log.user_dense is not None:
      parts.append(log.user_dense[groups])
    count = groups.stop - groups.start
    return np.concatenate([np.zeros((count, 0), np.float32), *parts], axis=1)

  def _pooled(self, lists: click_log.Jagged, keep: slice, offset: int):
    """Sum of the vectors of each list, by weight."""
    values, offsets, span = some(lists, keep)
    vectors = self._table[values + offset]
    if lists.weights is not None:
      vectors = vectors * lists.weights[span, None]
    return reduced(np.add, vectors, offsets)


def some(lists: click_log.Jagged, keep: slice):
  """Values of some lists, where each begins, and their span in all values."""
  offsets = lists.offsets[keep.start : keep.stop + 1]
  span = slice(int(offsets[0]), int(offsets[-1]))
  return lists.values[span], offsets - offsets[0], span
