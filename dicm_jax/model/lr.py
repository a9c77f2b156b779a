"""Logistic regression over ids, with image vectors as dense features.

The least of the paper's base nets (section 5.4): no id meets another. With
`model.id_width = 1` an ID embedding is the id's weight; a wider one's sum is.
"""

from flax import nnx
import jax.numpy as jnp
from jaxtyping import Array, Float

from dicm_jax.model import inputs as inputs_lib
from dicm_jax.model import layers, sight
from dicm_jax.model.config import ModelConfig
from dicm_jax.model.inputs import Fields, Inputs


class LR(nnx.Module):
  """Sum of the ids' weights and of weighted numbers; arguments as DICM's."""

  def __init__(
    self,
    config: ModelConfig,
    *,
    fields: Fields,
    total: layers.Total = layers.alone,
    rngs: nnx.Rngs,
  ):
    del total
    self.fields = fields
    ids_width = fields.ad_width(config.id_width)
    self.sight = sight.Sight(config, ids_width, rngs=rngs)
    numbers = fields.ad_dense + fields.user_dense + self.sight.width
    self.of_numbers = nnx.Linear(numbers, 1, rngs=rngs) if numbers else None
    self.bias = nnx.Param(0.0)

  def __call__(
    self,
    ids: Float[Array, "U D"],
    images: Float[Array, "V E"],
    inputs: Inputs,
  ) -> Float[Array, " b"]:
    """Logit of a click for each sample; arguments as DICM's."""
    ad = inputs_lib.ad_vectors(ids, self.fields, inputs)
    user = inputs_lib.user_vectors(ids, self.fields, inputs)
    out = self.bias[...] + _weights(ad, inputs.group.shape[0])
    out = out + _weights(user, inputs.history_length.shape[0])[inputs.group]
    if self.of_numbers is None:
      return out
    ad_ids = inputs_lib.concat([*ad, inputs.ad_dense])
    seen = self.sight(images, ad_ids, inputs)
    numbers = [inputs.ad_dense, inputs.user_dense[inputs.group], *seen]
    return out + self.of_numbers(inputs_lib.concat(numbers))[:, 0]


def _weights(vectors, count: inputs_lib.Size):
  """Sum of all numbers of each row's ID vectors."""
  return sum((v.sum(axis=1) for v in vectors), start=jnp.zeros(count))
