"""The paper's pre-rank model (section 4.4): two towers that meet in a product.

Neither tower sees the other side, so both can be computed offline and a
thousand ads be scored by a thousand inner products.
"""

from flax import nnx
import jax.numpy as jnp
from jaxtyping import Array, Float

from dicm_jax.model import inputs as inputs_lib
from dicm_jax.model import layers, pooling, sight
from dicm_jax.model.behaviours import Widths
from dicm_jax.model.config import ModelConfig
from dicm_jax.model.inputs import Fields, Inputs


class PreRank(nnx.Module):
  """Inner product of an ad vector and a user vector; arguments as DICM's."""

  WIDTH = 10
  """Of both towers' vectors (paper, section 4.4)."""

  def __init__(
    self,
    config: ModelConfig,
    *,
    fields: Fields,
    total: layers.Total = layers.alone,
    rngs: nnx.Rngs,
  ):
    self.config, self.fields = config, fields
    of_ads = fields.ad_width(config.id_width)
    of_users = fields.user_width(config.id_width)
    if config.sees_ad:
      of_ads += config.image_width
    if config.sees_behaviours:
      widths = Widths(config.image_width, config.frozen_width, 0)
      self.join = pooling.Pooled(widths, join=config.aggregator)
      of_users += self.join.width

    def tower(width: int) -> layers.MLP:
      return layers.MLP(
        (width, *config.hidden_widths, self.WIDTH),
        activation=config.activation,
        total=total,
        rngs=rngs,
      )

    self.ad_tower, self.user_tower = tower(of_ads), tower(of_users)

  def __call__(
    self,
    ids: Float[Array, "U D"],
    images: Float[Array, "V E"],
    inputs: Inputs,
  ) -> Float[Array, " b"]:
    """Logit of a click for each sample; arguments as DICM's."""
    ads, users = self.towers(ids, images, inputs)
    return jnp.sum(ads * users[inputs.group], axis=1)

  def towers(
    self,
    ids: Float[Array, "U D"],
    images: Float[Array, "V E"],
    inputs: Inputs,
  ) -> tuple[Float[Array, "b T"], Float[Array, "G T"]]:
    """The ads' vectors, one a sample, and the users', one a group."""
    seen = sight.looks(self.config, images)
    ad = [inputs_lib.ad_side(ids, self.fields, inputs)]
    user = [inputs_lib.user_side(ids, self.fields, inputs)]
    if self.config.sees_ad:
      ad.append(seen.as_ad[inputs.ad_image])
    if self.config.sees_behaviours:
      user.append(self.join.of_groups(sight.behaviours(seen, inputs)))
    there = inputs_lib.groups_there(inputs)
    return (
      self.ad_tower(inputs_lib.concat(ad)),
      self.user_tower(inputs_lib.concat(user), there),
    )
