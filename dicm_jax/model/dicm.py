"""The Deep Image CTR Model's network over short vectors (paper, section 4).

It runs on the worker and sees no mesh, no pixels and no table: ID vectors and
image vectors come in, one logit a sample goes out.
"""

from flax import nnx
from jaxtyping import Array, Float

from dicm_jax.model import inputs as inputs_lib
from dicm_jax.model import layers, loss, sight
from dicm_jax.model.config import ModelConfig
from dicm_jax.model.inputs import Fields, Inputs


class DICM(nnx.Module):
  """Embedding&MLP over ID fields, with ad and behaviour images.

  Args:
    config: the shape.
    fields: what samples consist of.
    total: sums over the devices that share a batch.
    rngs: stream of the initial weights.
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
    ad_width = fields.ad_width(config.id_width)
    user_width = fields.user_width(config.id_width)
    self.sight = sight.Sight(config, ad_width, rngs=rngs)
    self.net = layers.MLP(
      (
        ad_width + user_width + self.sight.width,
        *config.hidden_widths,
        config.outputs,
      ),
      activation=config.activation,
      output=config.output_activation,
      total=total,
      rngs=rngs,
    )

  def __call__(
    self,
    ids: Float[Array, "U D"],
    images: Float[Array, "V E"],
    inputs: Inputs,
  ) -> Float[Array, " b"]:
    """Logit of a click for each sample.

    Args:
      ids: vectors of the device's distinct ID rows.
      images: vectors of the device's distinct images.
      inputs: the samples, as indices into both.
    """
    ad = inputs_lib.ad_side(ids, self.fields, inputs)
    user = inputs_lib.user_side(ids, self.fields, inputs)[inputs.group]
    seen = self.sight(images, ad, inputs)
    return loss.logit(self.net(inputs_lib.concat([ad, user, *seen])))
