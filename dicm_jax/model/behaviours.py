"""A user's behaviour images, and what an ad may compare them with."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dicm_jax.model.inputs import Pairs


class Behaviours(NamedTuple):
  """Behaviour images of a device's groups and who looks at them."""

  vectors: Float[Array, "P D"]
  frozen: Float[Array, "P Z"]
  """The second, frozen head's vectors; Z may be 0."""
  group: Int[Array, " P"]
  """Group of each behaviour; >= number of groups is padding."""
  lengths: Int[Array, " G"]
  """Behaviours of each group."""
  sample_group: Int[Array, " b"]
  pairs: Pairs

  @property
  def recency(self) -> Int[Array, " P"]:
    """0 for the latest behaviour of a group, 1 for the one before, ..."""
    ends = jnp.cumsum(self.lengths)
    own = jnp.minimum(self.group, self.lengths.shape[0] - 1)
    return ends[own] - 1 - jnp.arange(self.group.shape[0])


class Queries(NamedTuple):
  """What behaviours may be compared with, one row a sample."""

  image: Float[Array, "b D"]
  frozen: Float[Array, "b Z"]
  ids: Float[Array, "b E"]


class Widths(NamedTuple):
  """D, Z and E of the above."""

  image: int
  frozen: int
  ids: int
