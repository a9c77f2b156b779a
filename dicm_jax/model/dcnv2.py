"""Deep & Cross Network V2, the parallel form.

Source: https://arxiv.org/abs/2008.13535, section 3: layers of
x0 * (W x + b) + x beside an MLP, both read by one linear layer.
"""

from flax import nnx
from jaxtyping import Array, Float

from dicm_jax.model import inputs as inputs_lib
from dicm_jax.model import layers, loss, sight
from dicm_jax.model.config import ModelConfig
from dicm_jax.model.inputs import Fields, Inputs


class CrossNet(nnx.Module):
  """Each layer raises the degree of the polynomial in x0 by one.

  Args:
    width: of x0.
    depth: number of layers.
    rngs: stream of the initial weights.
  """

  def __init__(self, width: int, depth: int, *, rngs: nnx.Rngs):
    self.layers = nnx.List(
      [nnx.Linear(width, width, rngs=rngs) for _ in range(depth)]
    )

  def __call__(self, x0: Float[Array, "b E"]) -> Float[Array, "b E"]:
    x = x0
    for layer in self.layers:
      x = x0 * layer(x) + x
    return x


class DCNv2(nnx.Module):
  """Cross network and MLP over all fields; arguments as DICM's."""

  DEPTH = 3
  """Cross layers (paper, section 7.3: 2 to 4 do best)."""

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
    width = of_ads + of_users + self.sight.width
    self.cross = CrossNet(width, self.DEPTH, rngs=rngs)
    *hidden, last = config.hidden_widths
    self.deep = layers.MLP(
      (width, *hidden, last),
      activation=config.activation,
      total=total,
      rngs=rngs,
    )
    self.last = layers.ACTIVATIONS[config.activation](last, total)
    self.outputs = nnx.Linear(width + last, config.outputs, rngs=rngs)

  def __call__(
    self,
    ids: Float[Array, "U D"],
    images: Float[Array, "V E"],
    inputs: Inputs,
  ) -> Float[Array, " b"]:
    """Logit of a click for each sample; arguments as DICM's."""
    ad = inputs_lib.ad_side(ids, self.fields, inputs)
    user = inputs_lib.user_side(ids, self.fields, inputs)[inputs.group]
    seen = self.sight(images, ad, inputs)
    x = inputs_lib.concat([ad, user, *seen])
    deep = self.last(self.deep(x), None)
    return loss.logit(self.outputs(inputs_lib.concat([self.cross(x), deep])))
