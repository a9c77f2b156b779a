"""Aggregators that weigh a user's behaviour images by the ad.

The paper's two (section 4.3), and multi-head attention with recency. Order of
the behaviours matters to the last one alone.
"""

from collections.abc import Callable
import math

from flax import nnx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dicm_jax.model import chunks, layers
from dicm_jax.model import inputs as inputs_lib
from dicm_jax.model.behaviours import Behaviours, Queries, Widths


def _of_own_sample(reduce, weight, sample, num_samples: inputs_lib.Size):
  """Reduces the weights of each sample; gives each weight its own's result.

  Padding is a sample of its own: no division by the length of an empty one.
  """
  own = jnp.minimum(sample, num_samples)
  return reduce(weight, own, num_samples + 1, indices_are_sorted=True)[own]


def _free(weight, sample, num_samples: inputs_lib.Size):
  del sample, num_samples
  return weight


def _over_length(weight, sample, num_samples: inputs_lib.Size):
  ones = jnp.ones_like(weight)
  return weight / _of_own_sample(jax.ops.segment_sum, ones, sample, num_samples)


def softmax(
  weight: Float[Array, " Q *H"],
  sample: Int[Array, " Q"],
  num_samples: inputs_lib.Size,
) -> Float[Array, " Q *H"]:
  """Makes the weights of each sample positive, with sum 1."""
  most = _of_own_sample(jax.ops.segment_max, weight, sample, num_samples)
  # The shift cancels out: no gradient need flow through the maximum.
  odds = jnp.exp(weight - jax.lax.stop_gradient(most))
  return odds / _of_own_sample(jax.ops.segment_sum, odds, sample, num_samples)


NORMALIZE: dict[str, Callable[..., jax.Array]] = {
  "none": _free,
  "length": _over_length,
  "softmax": softmax,
}
"""(weights [Q], sample of each [Q], number of samples) -> weights [Q].

The paper does not say. "none" is DIN's choice (arXiv 1706.06978, section 4.3),
whose form the paper follows: the sum tells the intensity of an interest.
"length" divides by the number of behaviours, so that the scale of the output
does not follow the length of the history, and keeps the weights otherwise
free. "softmax" makes the weights of a sample positive and sum to one.
"""


class Channel(nnx.Module):
  """The sum of weight x value, weights scaled by `normalize`.

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
    self.rest = layers.MLP((64, 16, 1), rngs=rngs)

  def __call__(
    self, behaviours: Behaviours, query: Float[Array, "b E"]
  ) -> Float[Array, "b D"]:
    entry, sample = behaviours.pairs
    keys, asked = self.of_key(behaviours.vectors), self.of_query(query)

    def weigh(entry, sample):
      # Padding pairs read the last sample's query and are dropped by the sum.
      return self.rest(self.activation(keys[entry] + asked[sample]))[:, 0]

    weight = self.normalize(
      chunks.in_chunks(weigh, entry, sample), sample, query.shape[0]
    )
    values = behaviours.vectors[entry]
    return inputs_lib.pool(weight[:, None] * values, sample, query.shape[0])


class Attentive(nnx.Module):
  """Attention with the ad image as query."""

  def __init__(self, widths: Widths, *, normalize: str, rngs: nnx.Rngs):
    self.width = width = widths.image
    self.by_image = Channel(width, width, normalize=normalize, rngs=rngs)

  def __call__(
    self, behaviours: Behaviours, queries: Queries
  ) -> Float[Array, "b D"]:
    return self.by_image(behaviours, queries.image)


class MultiQueryAttentive(nnx.Module):
  """Two channels, queried by the ad image and by the ad's IDs, end to end."""

  def __init__(self, widths: Widths, *, normalize: str, rngs: nnx.Rngs):
    width = widths.image
    self.width = 2 * width
    self.by_image = Channel(width, width, normalize=normalize, rngs=rngs)
    self.by_ids = Channel(width, widths.ids, normalize=normalize, rngs=rngs)

  def __call__(
    self, behaviours: Behaviours, queries: Queries
  ) -> Float[Array, "b D2"]:
    by_image = self.by_image(behaviours, queries.image)
    by_ids = self.by_ids(behaviours, queries.ids)
    return jnp.concatenate([by_image, by_ids], axis=1)


class TargetAttention(nnx.Module):
  """Multi-head attention of the ad image to the behaviours, with recency.

  Scaled dot products (Vaswani et al. 2017, arXiv 1706.03762, section 3.2) of
  trained and frozen vectors side by side, plus a learned number for each head
  and each octave of recency: the latest click, the one before, the next two,
  the next four, and so on. Weights are a softmax over the sample's behaviours.
  """

  HEADS = 4
  HEAD_WIDTH = 8
  OCTAVES = 10
  """Recencies of 2^8 and more share the last."""

  def __init__(self, widths: Widths, *, normalize: str, rngs: nnx.Rngs):
    del normalize
    seen = widths.image + widths.frozen
    shape = (self.HEADS, self.HEAD_WIDTH)
    self.width = self.HEADS * self.HEAD_WIDTH

    def project(inputs: int) -> nnx.LinearGeneral:
      return nnx.LinearGeneral(inputs, shape, use_bias=False, rngs=rngs)

    self.of_key, self.of_query = project(seen), project(seen)
    self.of_value = project(widths.image)
    self.recency = nnx.Param(jnp.zeros((self.OCTAVES, self.HEADS)))

  def __call__(
    self, behaviours: Behaviours, queries: Queries
  ) -> Float[Array, "b _"]:
    entry, sample = behaviours.pairs
    num_samples = queries.image.shape[0]
    keys = self.of_key(_both(behaviours.vectors, behaviours.frozen))
    asked = self.of_query(_both(queries.image, queries.frozen))
    products = jnp.sum(keys[entry] * asked[sample], axis=2)
    bias = self.recency[...][octave(behaviours.recency, self.OCTAVES)]
    score = products / math.sqrt(self.HEAD_WIDTH) + bias[entry]
    weight = softmax(score, sample, num_samples)
    values = self.of_value(behaviours.vectors)[entry]
    mixed = (weight[:, :, None] * values).reshape(entry.shape[0], self.width)
    return inputs_lib.pool(mixed, sample, num_samples)


def octave(recency: Int[Array, " P"], octaves: int) -> Int[Array, " P"]:
  """0 for recency 0, 1 for 1, 2 for 2 and 3, 3 for 4 to 7, ...

  >>> octave(jnp.array([0, 1, 2, 3, 4, 8, 999]), 5).tolist()
  [0, 1, 2, 2, 3, 4, 4]
  """
  # Comparisons with the bounds are exact where a logarithm rounds.
  bounds = 2 ** jnp.arange(octaves - 1)
  return jnp.sum(recency[:, None] >= bounds[None], axis=1)


def _both(trained, frozen):
  return jnp.concatenate([trained, frozen], axis=1)
