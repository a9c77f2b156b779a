"""Unified model: a sparse LR over ids and a module over two embeddings.

The module compares the mean of the behaviours' image vectors with the ad's; its
logit is added to the LR's. Trained jointly, the two complement one another: the
gradient of either sees the other's logit. Trained apart, the module learns from
the labels by itself, and the LR learns what the module leaves.

Source: "CNN embedding" for the ad ranking model, a talk by M. Li and Y. Wang of
JD.com (slides in Chinese): its unified model, structures 1 to 3, and its
complementary training.
"""

import dataclasses

from flax import nnx
import jax
from jaxtyping import Array, Float

from dicm_jax.model import inputs as inputs_lib
from dicm_jax.model import layers, lr, pooling, sight, structures
from dicm_jax.model.config import ModelConfig
from dicm_jax.model.inputs import Fields, Inputs


class Unified(nnx.Module):
  """Sum of an LR's and an embedding module's logit; arguments as DICM's.

  The embeddings are all that owners return for an image: the stored vectors
  alone where `image_widths` is (). Without images it is the LR alone.
  """

  def __init__(
    self,
    config: ModelConfig,
    *,
    fields: Fields,
    total: layers.Total = layers.alone,
    rngs: nnx.Rngs,
  ):
    self.config = config
    of_ids = dataclasses.replace(config, images="none")
    self.lr = lr.LR(of_ids, fields=fields, total=total, rngs=rngs)
    alone = config.images == "none"
    self.module = None if alone else _module(config, total, rngs)

  def __call__(
    self,
    ids: Float[Array, "U D"],
    images: Float[Array, "V E"],
    inputs: Inputs,
  ) -> Float[Array, " b"]:
    """Logit of a click for each sample; arguments as DICM's."""
    return self.heads(ids, images, inputs)[0]

  def heads(
    self,
    ids: Float[Array, "U D"],
    images: Float[Array, "V E"],
    inputs: Inputs,
  ) -> list[Float[Array, " b"]]:
    """The logits that learn, the prediction first; arguments as DICM's."""
    of_ids = self.lr(ids, images, inputs)
    if self.module is None:
      return [of_ids]
    x, y = self._embeddings(images, inputs)
    added = self.module(x, y, inputs.group, inputs.ad_image)
    if self.config.training == "joint":
      return [of_ids + added]
    return [of_ids + jax.lax.stop_gradient(added), added]

  def _embeddings(self, images, inputs: Inputs):
    """x of each group, zeros without behaviours, and y of each image."""
    seen = sight.looks(self.config, images)
    past = sight.behaviours(seen, inputs)
    vectors = inputs_lib.concat([past.vectors, past.frozen])
    x = pooling.JOINS["mean"](past._replace(vectors=vectors))
    return x, inputs_lib.concat([seen.as_ad, seen.frozen])


def _module(config: ModelConfig, total: layers.Total, rngs: nnx.Rngs):
  return structures.STRUCTURES[config.structure](
    config.image_width + config.frozen_width,
    hidden_widths=config.hidden_widths,
    activation=config.activation,
    total=total,
    rngs=rngs,
  )
