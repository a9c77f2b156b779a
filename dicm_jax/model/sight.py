"""What a net sees of the pictures: the ad's vector, the behaviours' joined."""

from typing import NamedTuple

from flax import nnx
from jaxtyping import Array, Float

from dicm_jax.model import aggregators
from dicm_jax.model.behaviours import Behaviours, Queries, Widths
from dicm_jax.model.config import ModelConfig
from dicm_jax.model.inputs import Inputs


class Looks(NamedTuple):
  """Vectors of a device's distinct images."""

  as_behaviour: Float[Array, "V D"]
  as_ad: Float[Array, "V D"]
  frozen: Float[Array, "V Z"]


def looks(config: ModelConfig, images: Float[Array, "V E"]) -> Looks:
  """Takes apart what the owners returned."""
  trained, frozen = (
    images[:, : config.trained_width],
    images[:, config.trained_width :],
  )
  if not config.separate:
    return Looks(trained, trained, frozen)
  width = config.image_width
  return Looks(trained[:, :width], trained[:, width:], frozen)


def behaviours(seen: Looks, inputs: Inputs) -> Behaviours:
  """The behaviour images of all groups."""
  place = inputs.behaviours.place
  return Behaviours(
    vectors=seen.as_behaviour[place],
    frozen=seen.frozen[place],
    group=inputs.behaviours.owner,
    lengths=inputs.history_length,
    sample_group=inputs.group,
    pairs=inputs.image_pairs,
  )


class Sight(nnx.Module):
  """The image fields that a config asks for, as parts of a net's input.

  Args:
    config: which images, and how behaviours are joined.
    ids_width: of the ad's ID vectors, which may be a query.
    rngs: stream of the initial weights.
  """

  def __init__(self, config: ModelConfig, ids_width: int, *, rngs: nnx.Rngs):
    self.config = config
    self.width = config.image_width if config.sees_ad else 0
    if config.sees_behaviours:
      self.aggregator = aggregators.make(
        config.aggregator,
        Widths(config.image_width, config.frozen_width, ids_width),
        normalize=config.normalize,
        rngs=rngs,
      )
      self.width += self.aggregator.width

  def __call__(
    self,
    images: Float[Array, "V E"],
    ad_ids: Float[Array, "b A"],
    inputs: Inputs,
  ) -> list[Float[Array, "b _"]]:
    """Parts of each sample, widths adding up to `width`.

    Args:
      images: vectors of the device's distinct images.
      ad_ids: ID vectors and numbers of each sample's ad.
      inputs: the samples.
    """
    seen = looks(self.config, images)
    ad = seen.as_ad[inputs.ad_image]
    parts = [ad] if self.config.sees_ad else []
    if self.config.sees_behaviours:
      queries = Queries(ad, seen.frozen[inputs.ad_image], ad_ids)
      parts.append(self.aggregator(behaviours(seen, inputs), queries))
    return parts
