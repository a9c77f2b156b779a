"""Field-aware factorisation machine with pictures as fields.

Every feature has a weight and, for each field of the other side, a vector of
its own; a pair's share of the logit is the product of the two vectors meant
for each other. A user's vectors count from those of the population, so that an
L2 penalty draws a user of few impressions to what everybody likes. Only pairs
of a user field and an ad field count: within one side nothing depends on who
meets what, and the context (position, hour), of neither side, has weights
alone. The ad's picture is one more ad field, the behaviours' pictures are one
more user field, and their vectors come from the image layers, so that a taste
learned from some pictures holds for all. Pictures have no weight: what all like
about them lies in the few numbers that tastes are about, not in one more
function of all their features.

Source: Juan et al. 2016, "Field-aware Factorization Machines for CTR
Prediction", https://doi.org/10.1145/2959100.2959134, section 3.
"""

from flax import nnx
import jax.numpy as jnp
from jaxtyping import Array, Float

from dicm_jax import errors
from dicm_jax.model import inputs as inputs_lib
from dicm_jax.model import layers, pooling, sight
from dicm_jax.model.config import ModelConfig
from dicm_jax.model.inputs import Fields, Inputs


class FFM(nnx.Module):
  """Weights of all fields and products across sides; arguments as DICM's.

  Raises:
    InputError: `id_width` or an image vector does not hold a weight and a
      vector for each field of the other side.
  """

  def __init__(
    self,
    config: ModelConfig,
    *,
    fields: Fields,
    total: layers.Total = layers.alone,
    rngs: nnx.Rngs,
  ):
    del total
    self.config, self.fields = config, fields
    self.num_ad = fields.num_ad - len(fields.context) + config.sees_ad
    self.num_user = len(fields.user) + config.sees_behaviours
    self._check_widths()
    size = (config.id_width - 1) // max(self.num_ad, self.num_user)
    # One axis, as a bias: what all like is not to be penalised.
    self.population = nnx.Param(jnp.zeros(self.num_user * self.num_ad * size))
    numbers = fields.ad_dense + fields.user_dense
    self.of_numbers = nnx.Linear(numbers, 1, rngs=rngs) if numbers else None
    self.bias = nnx.Param(jnp.zeros(()))

  def _check_widths(self) -> None:
    most = max(self.num_ad, self.num_user)
    width = self.config.id_width
    if width < 1 + most or (width - 1) % most:
      raise errors.InputError(
        f"model.id_width: expected 1 + {most} k with model.name='ffm', a "
        f"weight and k numbers for each of {most} fields of the other side; "
        f"found {width}"
      )
    if self.config.images != "none" and self.config.image_width != width - 1:
      raise errors.InputError(
        "model.image_widths: expected the last to be model.id_width - 1 = "
        f"{width - 1} with model.name='ffm', found {self.config.image_width}"
      )

  def __call__(
    self,
    ids: Float[Array, "U D"],
    images: Float[Array, "V E"],
    inputs: Inputs,
  ) -> Float[Array, " b"]:
    """Logit of a click for each sample; arguments as DICM's."""
    ads = inputs_lib.ad_vectors(
      ids, self.fields, inputs, without=self.fields.context
    )
    users = self._users(ids, inputs)
    context = self._context(ids, inputs)
    out = self.bias[...] + _weights(ads + context, inputs.group.shape[0])
    out = out + _weights(users, inputs.history_length.shape[0])[inputs.group]
    ads, users = [v[:, 1:] for v in ads], [v[:, 1:] for v in users]
    seen = sight.looks(self.config, images)
    if self.config.sees_ad:
      ads.append(seen.as_ad[inputs.ad_image])
    if self.config.sees_behaviours:
      users.append(pooling.JOINS["mean"](sight.behaviours(seen, inputs)))
    users = jnp.stack(users, axis=1)[inputs.group]
    out = out + self._products(jnp.stack(ads, axis=1), users)
    if self.of_numbers is None:
      return out
    numbers = [inputs.ad_dense, inputs.user_dense[inputs.group]]
    return out + self.of_numbers(inputs_lib.concat(numbers))[:, 0]

  def _products(self, ads: Float[Array, "b A E"], users: Float[Array, "b W E"]):
    """Sum over ad fields i and user fields j of <ad i for j, user j for i>."""
    most = max(self.num_ad, self.num_user)
    shape = (ads.shape[0], -1, most, ads.shape[2] // most)
    for_users = ads.reshape(shape)[:, :, : self.num_user]
    for_ads = users.reshape(shape)[:, :, : self.num_ad]
    population = self.population[...].reshape(self.num_user, self.num_ad, -1)
    return jnp.einsum("bijk,bjik->b", for_users, for_ads) + jnp.einsum(
      "bijk,jik->b", for_users, population
    )

  def _context(self, ids, inputs: Inputs) -> list[Float[Array, "b D"]]:
    """Vectors of the context fields, of which the weight alone counts."""
    of_ads = {*self.fields.ad, *self.fields.ad_lists} - {*self.fields.context}
    return inputs_lib.ad_vectors(ids, self.fields, inputs, without=of_ads)

  def _users(self, ids, inputs: Inputs) -> list[Float[Array, "G D"]]:
    """Mean vectors of each group's user fields."""
    num_groups = inputs.history_length.shape[0]
    lists = [inputs.user_ids[name] for name in self.fields.user]
    return [_mean(ids, entries, num_groups) for entries in lists]


def _weights(vectors: list[Float[Array, "n D"]], count: inputs_lib.Size):
  """Sum of the weights, each the first number of its vector."""
  return sum((v[:, 0] for v in vectors), start=jnp.zeros(count))


def _mean(ids, lists: inputs_lib.Lists, num_owners: inputs_lib.Size):
  """Mean instead of sum: a product with a sum would grow with the history."""
  ones = jnp.ones((lists.owner.shape[0], 1))
  count = inputs_lib.pool(ones, lists.owner, num_owners)
  return inputs_lib.pooled(ids, lists, num_owners) / jnp.maximum(count, 1)
