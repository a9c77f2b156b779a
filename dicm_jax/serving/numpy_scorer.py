"""Scores page views by NumPy alone, of a bundle whose network is DICM's MLP.

Vectors are read by row, as ids are: no picture is looked at. All that is the
user's is computed once a page view, whatever the number of its ads.
"""

from typing import NamedTuple

from jaxtyping import Float, Int
import numpy as np

from dicm_jax import errors
from dicm_jax.data import click_log
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import logs, numpy_behaviours, numpy_ids, numpy_layers
from dicm_jax.serving.numpy_layers import Part

POOLED = ("concat", "max", "mean", "sum")
ATTENTIVE = ("attentive", "multi_query_attentive")
AGGREGATORS = (*POOLED, *ATTENTIVE)

_SAMPLES = 4096
"""Ads at a time, at most, or one page view: bounds the memory."""


class _Views(NamedTuple):
  """Some page views of a log, side by side."""

  log: click_log.ClickLog
  samples: slice
  groups: slice

  @property
  def group(self) -> Int[np.ndarray, " n"]:
    """Page view of each ad, from 0."""
    return self.log.group[self.samples] - self.groups.start


def check(model: dict) -> None:
  """Refuses a network that NumPy does not know.

  Args:
    model: its shape, as the manifest's config has it.

  Raises:
    InputError: it is another than DICM's MLP with one of AGGREGATORS.
  """
  sees = model["images"] in ("both", "behaviour")
  if model["name"] == "dicm" and (
    not sees or model["aggregator"] in AGGREGATORS
  ):
    return
  found = f"model.name={model['name']!r}"
  if sees:
    found += f" with model.aggregator={model['aggregator']!r}"
  raise errors.InputError(
    "the NumPy scorer knows model.name='dicm' with or without images and with "
    f"model.aggregator one of {', '.join(AGGREGATORS)}; found {found}. Score "
    f"{bundle_lib.NET} by JAX, which has every network"
  )


class NumpyScorer:
  """Probabilities of clicks by a bundle.

  Args:
    bundle: of a network that `check` lets pass.

  Raises:
    InputError: as `check`, or the parameters are damaged.
  """

  name = "numpy"

  def __init__(self, bundle: bundle_lib.Bundle):
    model = bundle.model
    check(model)
    parameters = bundle.arrays(bundle_lib.PARAMETERS)
    self._ids = numpy_ids.Ids(bundle)
    self._sees_ad = model["images"] in ("both", "ad")
    self._sees_behaviours = model["images"] in ("both", "behaviour")
    self._as_behaviour, self._as_ad = looks(model, bundle.images)
    self._aggregator = model["aggregator"]
    self._attention = None
    if self._sees_behaviours and self._aggregator in ATTENTIVE:
      self._attention = numpy_behaviours.Attention(
        parameters,
        model["normalize"],
        self._as_behaviour,
        self._as_ad,
      )
    self._net = numpy_layers.MLP(
      parameters, "net", model["activation"], model["output_activation"]
    )

  def __call__(self, log: click_log.ClickLog) -> Float[np.ndarray, " n"]:
    """Probability of a click for each sample, in the log's order."""
    starts = logs.starts_of(log)
    parts = []
    for groups in logs.blocks(log, _SAMPLES):
      samples = slice(int(starts[groups.start]), int(starts[groups.stop]))
      parts.append(self._score(_Views(log, samples, groups)))
    return np.concatenate([np.zeros(0, np.float32), *parts])

  def attention(
    self, log: click_log.ClickLog
  ) -> dict[str, Float[np.ndarray, "n L"]]:
    """By channel, the weight of each behaviour of one page view for each ad."""
    past, shown = log.behaviour_images, slice(0, log.num_samples)
    if self._attention is None or not len(past.values):
      return {}
    ad = self._ids.of_ads(log, shown)
    seen = numpy_behaviours.Seen(
      past.values, past.offsets, log.group, log.ad_image, ad
    )
    return self._attention.scaled(seen)

  def _score(self, views: _Views) -> Float[np.ndarray, " n"]:
    group = views.group
    ad = self._ids.of_ads(views.log, views.samples)
    user = self._ids.of_users(views.log, views.groups)
    parts: list[Part] = [(ad, None), (user, group)]
    if self._sees_ad or self._sees_behaviours:
      parts += self._pictures(views, ad)
    outputs = self._net(parts)
    if outputs.shape[1] == 1:
      return numpy_layers.sigmoid(outputs[:, 0])
    return numpy_layers.sigmoid(outputs[:, 1] - outputs[:, 0])

  def _pictures(self, views: _Views, ad) -> list[Part]:
    """The ads' pictures, and the behaviours' joined."""
    ad_rows = views.log.ad_image[views.samples]
    parts: list[Part] = [(self._as_ad[ad_rows], None)] if self._sees_ad else []
    if not self._sees_behaviours:
      return parts
    rows, offsets, _ = numpy_ids.some(views.log.behaviour_images, views.groups)
    seen = numpy_behaviours.Seen(rows, offsets, views.group, ad_rows, ad)
    if self._attention:
      return [*parts, *((joined, None) for joined in self._attention(seen))]
    name, vectors = self._aggregator, self._as_behaviour
    return [*parts, numpy_behaviours.pooled(name, vectors, seen)]


def looks(model: dict, images: Float[np.ndarray, "I E"]):
  """Vectors of pictures as behaviours and as ads."""
  width = model["image_widths"][-1] if model["image_widths"] else 0
  if model["image_nets"] == "separate":
    return images[:, :width], images[:, width : 2 * width]
  return images[:, :width], images[:, :width]
