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


def _of_own_sample(reduce, weight, sample, num_samples: int):
  """Reduces the weights of each sample; gives each weight its own's result.

  Padding is a sample of its own: no division by the length of an empty one.
  """
  own = jnp.minimum(sample, num_samples)
  return reduce(weight, own, num_samples + 1, indices_are_sorted=True)[own]


def _free(weight, sample, num_samples: int):
  del sample, num_samples
  return weight


def _over_length(weight, sample, num_samples: int):
  ones = jnp.ones_like(weight)
  return weight / _of_own_sample(jax.ops.segment_sum, ones, sample, num_samples)


def _softmax(weight, sample, num_samples: int):
  most = _of_own_sample(jax.ops.segment_max, weight, sample, num_samples)
  # The shift cancels out: no gradient need flow through the maximum.
  odds = jnp.exp(weight - jax.lax.stop_gradient(most))
  return odds / _of_own_sample(jax.ops.segment_sum, odds, sample, num_samples)


NORMALIZE: dict[str, Callable[..., jax.Array]] = {
  "none": _free,
  "length": _over_length,
  "softmax": _softmax,
}
"""(weights [Q], sample of each [Q], number of samples) -> weights [Q].

The paper does not say. "none" is DIN's choice (arXiv 1706.06978, section 4.3),
whose form the paper follows: the sum tells the intensity of an interest.
"length" divides by the number of behaviours, so that the scale of the output
does not follow the length of the history, and keeps the weights otherwise
free. "softmax" makes the weights of a sample positive and sum to one.
"""


class Sum(nnx.Module):
  """Element-wise sum over the behaviours."""

  def __init__(
    self, width: int, ids_width: int, *, normalize: str, rngs: nnx.Rngs
  ):
    del ids_width, normalize, rngs
    self.width = width

  def __call__(self, behaviours: Behaviours, queries: Queries):
    del queries
    summed = pool(behaviours.vectors, behaviours.group, behaviours.num_groups)
    return summed[behaviours.sample_group]


class Attention(nnx.Module):
  """One channel: the sum of weight x value, weights scaled by `normalize`.

  weight = FC 1(FC 16(FC 64([key ; query]))).
  """

  def __init__(
    self, width: int, query_width: int, *, normalize: str, rngs: nnx.Rngs
  ):
    self.normalize = NORMALIZE[normalize]
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
    weight = self.normalize(
      self.rest(self.activation(hidden))[:, 0],
      behaviours.pair_sample,
      len(query),
    )
    values = behaviours.vectors[behaviours.pair_behaviour]
    return pool(weight[:, None] * values, behaviours.pair_sample, len(query))


class Attentive(nnx.Module):
  """Attention with the ad image as query."""

  def __init__(
    self, width: int, ids_width: int, *, normalize: str, rngs: nnx.Rngs
  ):
    del ids_width
    self.width = width
    self.by_image = Attention(width, width, normalize=normalize, rngs=rngs)

  def __call__(self, behaviours: Behaviours, queries: Queries):
    return self.by_image(behaviours, queries.image)


class MultiQueryAttentive(nnx.Module):
  """Two channels, queried by the ad image and by the ad's IDs, end to end."""

  def __init__(
    self, width: int, ids_width: int, *, normalize: str, rngs: nnx.Rngs
  ):
    self.width = 2 * width
    self.by_image = Attention(width, width, normalize=normalize, rngs=rngs)
    self.by_ids = Attention(width, ids_width, normalize=normalize, rngs=rngs)

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
