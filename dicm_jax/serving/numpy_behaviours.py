"""A user's behaviour pictures in one vector, or one for each ad, by NumPy."""

from concurrent import futures
import itertools
from typing import NamedTuple

from jaxtyping import Float, Int
import numpy as np

from dicm_jax.serving import numpy_attention
from dicm_jax.serving.numpy_layers import Parameters, Part, reduced

_LATEST = 32
"""Behaviours that `concat` keeps, as pooling.LATEST."""
_CHANNELS = ("by_image", "by_ids")


class Seen(NamedTuple):
  """Some page views: what their users clicked, and their ads."""

  rows: Int[np.ndarray, " P"]
  """Picture of each behaviour, page view after page view."""
  offsets: Int[np.ndarray, " starts"]
  """Where each page view's behaviours begin, and the end of all."""
  group: Int[np.ndarray, " n"]
  """Page view of each ad, from 0, ascending."""
  ad_rows: Int[np.ndarray, " n"]
  """Picture of each ad."""
  ad: Float[np.ndarray, "n A"]
  """Vectors of each ad's ids."""


def pooled(name: str, vectors: Float[np.ndarray, "I D"], seen: Seen) -> Part:
  """Behaviours joined by an aggregator that sees no ad: by page view."""
  return joined(name, vectors[seen.rows], seen.offsets), seen.group


def joined(
  name: str,
  vectors: Float[np.ndarray, "P D"],
  offsets: Int[np.ndarray, " starts"],
) -> Float[np.ndarray, "G _"]:
  """The same, of the behaviours' own vectors."""
  if name == "concat":
    return _latest(vectors, offsets)
  out = reduced(np.maximum if name == "max" else np.add, vectors, offsets)
  if name == "mean":
    out /= np.maximum(np.diff(offsets), 1).astype(np.float32)[:, None]
  return out


def _latest(vectors, offsets) -> Float[np.ndarray, "G _"]:
  """The latest behaviours side by side, the newest first, zeros behind."""
  out = np.zeros((len(offsets) - 1, _LATEST, vectors.shape[1]), np.float32)
  for group, (begin, end) in enumerate(itertools.pairwise(offsets.tolist())):
    kept = vectors[max(begin, end - _LATEST) : end][::-1]
    out[group, : len(kept)] = kept
  return out.reshape(len(out), -1)


class Attention:
  """Weighs behaviours by each ad, as its picture and as its ids ask.

  Args:
    parameters: of the network.
    normalize: how weights are scaled.
    as_behaviour: vectors of pictures that were clicked.
    as_ad: of the same pictures where they are ads'.
  """

  def __init__(
    self,
    parameters: Parameters,
    normalize: str,
    as_behaviour: Float[np.ndarray, "I D"],
    as_ad: Float[np.ndarray, "I D"],
  ):
    self._channels = [
      numpy_attention.Channel(parameters, f"sight.aggregator.{name}", normalize)
      for name in _CHANNELS
      if f"sight.aggregator.{name}.of_key.kernel" in parameters
    ]
    self._as_behaviour, self._as_ad = as_behaviour, as_ad
    # What Numba compiles works without Python's lock: a thread for the second.
    self._pool = futures.ThreadPoolExecutor(1, "attend")

  def __call__(self, seen: Seen) -> list[Float[np.ndarray, "n D"]]:
    """The joined behaviours for each ad, by channel."""
    rest = [
      self._pool.submit(self._joined, channel, seen)
      for channel in range(1, len(self._channels))
    ]
    return [self._joined(0, seen), *(one.result() for one in rest)]

  def _joined(self, channel: int, seen: Seen) -> Float[np.ndarray, "n D"]:
    starts = np.searchsorted(seen.group, np.arange(len(seen.offsets)))
    shape = len(seen.group), self._as_behaviour.shape[1]
    out = np.empty(shape, np.float32)
    for group in range(len(seen.offsets) - 1):
      rows = seen.rows[seen.offsets[group] : seen.offsets[group + 1]]
      ads = slice(starts[group], starts[group + 1])
      weight = self.weights(channel, seen, rows, ads)
      behaviours = self._as_behaviour[rows]
      out[ads] = self._channels[channel].joined(weight, behaviours)
    return out

  def scaled(self, seen: Seen) -> dict[str, Float[np.ndarray, "n L"]]:
    """By channel, the weights of one page view as it is summed by them."""
    ads = slice(0, len(seen.group))
    return {
      name: channel.scaled(self.weights(number, seen, seen.rows, ads))
      for number, (name, channel) in enumerate(
        zip(_CHANNELS, self._channels, strict=False)
      )
    }

  def weights(
    self, channel: int, seen: Seen, rows: Int[np.ndarray, " L"], ads: slice
  ) -> Float[np.ndarray, "a L"]:
    """What behaviours weigh for some ads, before it is scaled.

    Args:
      channel: by image, 0, or by ids.
      seen: the page views.
      rows: the behaviours' pictures.
      ads: of `seen`.
    """
    queries = seen.ad[ads] if channel else self._as_ad[seen.ad_rows[ads]]
    return self._channels[channel].weigh(self._as_behaviour[rows], queries)
