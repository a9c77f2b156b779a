"""Deep Interest Network: attention of the ad's ids to the ids of past clicks.

Source: https://arxiv.org/abs/1706.06978, section 4.3. Its Dice is a choice of
`model.activation`, its adaptive regularisation one of the sparse optimiser.
"""

from flax import nnx
from jaxtyping import Array, Float

from dicm_jax.model import inputs as inputs_lib
from dicm_jax.model import layers, loss, sight
from dicm_jax.model.config import ModelConfig
from dicm_jax.model.inputs import Fields, Inputs, Pairs


class ActivationUnit(nnx.Module):
  """Weight of a past click for an ad, unnormalised, and the weighted sum.

  weight = MLP([ad ; click ; ad - click ; ad * click]).

  Args:
    width: of the vectors of ads and clicks.
    hidden: widths of the MLP's hidden layers (paper, figure 2: 36).
    activation: between them.
    total: sums over the devices that share a batch.
    rngs: stream of the initial weights.
  """

  def __init__(
    self,
    width: int,
    *,
    hidden: tuple[int, ...] = (36,),
    activation: str = "prelu",
    total: layers.Total = layers.alone,
    rngs: nnx.Rngs,
  ):
    self.weight = layers.MLP(
      (4 * width, *hidden, 1), activation=activation, total=total, rngs=rngs
    )

  def __call__(
    self,
    clicks: Float[Array, "P E"],
    ads: Float[Array, "b E"],
    pairs: Pairs,
  ) -> Float[Array, "b E"]:
    """Sum of each sample's clicks, by weight; zeros where there are none."""
    click, ad = clicks[pairs.entry], ads[pairs.sample]
    compared = inputs_lib.concat([ad, click, ad - click, ad * click])
    weight = self.weight(compared, pairs.there(ads.shape[0]))
    return inputs_lib.pool(weight * click, pairs.sample, ads.shape[0])


class DIN(nnx.Module):
  """Embedding&MLP whose past clicks are pooled by attention.

  Arguments as DICM's; `fields.past` must not be empty.
  """

  def __init__(
    self,
    config: ModelConfig,
    *,
    fields: Fields,
    total: layers.Total = layers.alone,
    rngs: nnx.Rngs,
  ):
    self.fields = fields
    of_ads = fields.ad_width(config.id_width)
    of_users = fields.user_width(config.id_width)
    self.sight = sight.Sight(config, of_ads, rngs=rngs)
    self.attention = ActivationUnit(
      len(fields.past) * config.id_width,
      activation=config.activation,
      total=total,
      rngs=rngs,
    )
    self.net = layers.MLP(
      (
        of_ads + of_users + self.sight.width,
        *config.hidden_widths,
        config.outputs,
      ),
      activation=config.activation,
      total=total,
      rngs=rngs,
    )

  def __call__(
    self,
    ids: Float[Array, "U D"],
    images: Float[Array, "V E"],
    inputs: Inputs,
  ) -> Float[Array, " b"]:
    """Logit of a click for each sample; arguments as DICM's."""
    past = [field.user for field in self.fields.past]
    ad = inputs_lib.ad_side(ids, self.fields, inputs)
    profile = inputs_lib.user_side(ids, self.fields, inputs, without=past)
    clicks = [ids[inputs.user_ids[name].place] for name in past]
    ads = [ids[inputs.ad_ids[field.ad]] for field in self.fields.past]
    interest = self.attention(
      inputs_lib.concat(clicks), inputs_lib.concat(ads), inputs.id_pairs
    )
    seen = self.sight(images, ad, inputs)
    parts = [ad, profile[inputs.group], interest, *seen]
    return loss.logit(self.net(inputs_lib.concat(parts)))
