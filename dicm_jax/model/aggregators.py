"""Ways to join a user's behaviour image vectors into one (paper, section 4.3).

Each takes the vectors of all groups' behaviours end to end, and the pairs of
(sample, behaviour) that belong together; a sample without behaviours gets
zeros. Order does not matter to any of them.
"""

from collections.abc import Callable
from typing import NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dicm_jax.model import layers


class Behaviours(NamedTuple):
  """Behaviour vectors of a device's groups and who looks at them."""

  vectors: Float[Array, "P D"]
  group: Int[Array, " P"]
  """Group of each behaviour; >= num_groups is padding."""
  num_groups: int
  sample_group: Int[Array, " b"]
  pair_behaviour: Int[Array, " Q"]
  """Behaviour of each (sample, behaviour) pair."""
  pair_sample: Int[Array, " Q"]
  """Sample of each pair; >= b is padding."""


class Queries(NamedTuple):
  """What attention may compare behaviours with, one row a sample."""

  image: Float[Array, "b D"]
  ids: Float[Array, "b E"]


def pool(
  vectors: Float[Array, "P D"], group: Int[Array, " P"], num_groups: int
) -> Float[Array, "G D"]:
  """Sums the vectors of each group; groups out of range are padding."""
  return jax.ops.segment_sum(
    vectors, group, num_groups, indices_are_sorted=True
  )


class Sum(nnx.Module):
  """Element-wise sum over the behaviours."""

  def __init__(self, width: int, ids_width: int, *, rngs: nnx.Rngs):
    del ids_width, rngs
    self.width = width

  def __call__(self, behaviours: Behaviours, queries: Queries):
    del queries
    summed = pool(behaviours.vectors, behaviours.group, behaviours.num_groups)
    return summed[behaviours.sample_group]


class Attention(nnx.Module):
  """One channel: weight = FC 1(FC 16(FC 64([key ; query]))), not normalised.

  DIN (arXiv 1706.06978, section 4.3), whose form the paper follows, keeps the
  weights' sum free so that it can tell the intensity of an interest.
  """

  def __init__(self, width: int, query_width: int, *, rngs: nnx.Rngs):
    # [key ; query] W = key Wk + query Wq: the first product is made once a
    # behaviour and the second once a sample, not once a pair.
    self.of_key = nnx.Linear(width, 64, rngs=rngs)
    self.of_query = nnx.Linear(query_width, 64, use_bias=False, rngs=rngs)
    self.activation = layers.PReLU(64)
    self.rest = layers.mlp((64, 16, 1), rngs=rngs)

  def __call__(
    self, behaviours: Behaviours, query: Float[Array, "b E"]
  ) -> Float[Array, "b D"]:
    keys = self.of_key(behaviours.vectors)[behaviours.pair_behaviour]
    queries = self.of_query(query)
    # Padding pairs read the last sample's query and are dropped by the sum.
    hidden = keys + queries[behaviours.pair_sample]
    weight = self.rest(self.activation(hidden))
    values = behaviours.vectors[behaviours.pair_behaviour]
    weighted = values * jnp.broadcast_to(weight, values.shape)
    return pool(weighted, behaviours.pair_sample, len(query))


class Attentive(nnx.Module):
  """Attention with the ad image as query."""

  def __init__(self, width: int, ids_width: int, *, rngs: nnx.Rngs):
    del ids_width
    self.width = width
    self.by_image = Attention(width, width, rngs=rngs)

  def __call__(self, behaviours: Behaviours, queries: Queries):
    return self.by_image(behaviours, queries.image)


class MultiQueryAttentive(nnx.Module):
  """Two channels, queried by the ad image and by the ad's IDs, end to end."""

  def __init__(self, width: int, ids_width: int, *, rngs: nnx.Rngs):
    self.width = 2 * width
    self.by_image = Attention(width, width, rngs=rngs)
    self.by_ids = Attention(width, ids_width, rngs=rngs)

  def __call__(self, behaviours: Behaviours, queries: Queries):
    by_image = self.by_image(behaviours, queries.image)
    by_ids = self.by_ids(behaviours, queries.ids)
    return jnp.concatenate([by_image, by_ids], axis=1)


Aggregator = Sum | Attentive | MultiQueryAttentive

AGGREGATORS: dict[str, Callable[..., Aggregator]] = {
  "sum": Sum,
  "attentive": Attentive,
  "multi_query_attentive": MultiQueryAttentive,
}
