"""The two towers of a pre-rank bundle in NumPy: vectors of ads and of users.

The logit of a click is the inner product of the two, so ads can be embedded
beforehand, and a user when a request comes.
Source: "Image Matters", https://arxiv.org/abs/1711.06505, section 4.4.
"""

from jaxtyping import Float
import numpy as np

from dicm_jax import errors
from dicm_jax.data import click_log
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import (
  numpy_behaviours,
  numpy_ids,
  numpy_layers,
  numpy_scorer,
)

_ADS = 4096
"""Ads at a time: bounds the memory."""


class NumpyTowers:
  """The towers of a bundle of model.name='prerank'.

  Args:
    bundle: the bundle.

  Raises:
    InputError: its network has no towers, or its parameters are damaged.
  """

  def __init__(self, bundle: bundle_lib.Bundle):
    model = bundle.model
    if model["name"] != "prerank":
      raise errors.InputError(
        f"{bundle.folder}: expected a bundle of model.name='prerank', whose "
        f"ads and users have vectors of their own; found {model['name']!r}"
      )
    parameters = bundle.arrays(bundle_lib.PARAMETERS)
    self._ids = numpy_ids.Ids(bundle)
    self._as_behaviour, self._as_ad = numpy_scorer.looks(model, bundle.images)
    self._sees_ad = model["images"] in ("both", "ad")
    self._sees_behaviours = model["images"] in ("both", "behaviour")
    self._aggregator = model["aggregator"]
    self._ad_tower, self._user_tower = (
      numpy_layers.MLP(parameters, name, model["activation"], "linear")
      for name in ("ad_tower", "user_tower")
    )

  def ads(self, log: click_log.ClickLog) -> Float[np.ndarray, "n T"]:
    """The vector of each sample's ad, of its context too."""
    count = log.num_samples
    blocks = [slice(i, min(i + _ADS, count)) for i in range(0, count, _ADS)]
    return np.concatenate([self._ads(log, block) for block in blocks])

  def users(self, log: click_log.ClickLog) -> Float[np.ndarray, "G T"]:
    """The vector of each page view's user."""
    parts = [self._ids.of_users(log, slice(0, log.num_groups))]
    if self._sees_behaviours:
      past, name = log.behaviour_images, self._aggregator
      vectors = self._as_behaviour[past.values]
      parts.append(numpy_behaviours.joined(name, vectors, past.offsets))
    return self._user_tower([(part, None) for part in parts])

  def _ads(self, log: click_log.ClickLog, samples: slice):
    parts = [self._ids.of_ads(log, samples)]
    if self._sees_ad:
      parts.append(self._as_ad[log.ad_image[samples]])
    return self._ad_tower([(part, None) for part in parts])
