"""Aggregators that look at the behaviours alone (paper, section 4.3).

A group without behaviours gets zeros. The order matters to `concat` only.
"""

from collections.abc import Callable

from flax import nnx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dicm_jax.model import inputs as inputs_lib
from dicm_jax.model.behaviours import Behaviours, Queries, Widths

LATEST = 32
"""Behaviours that `concat` keeps; the paper's mean history has 32.6."""


def _sum(behaviours: Behaviours):
  return inputs_lib.pool(
    behaviours.vectors, behaviours.group, behaviours.lengths.shape[0]
  )


def _mean(behaviours: Behaviours):
  count = jnp.maximum(behaviours.lengths, 1).astype(jnp.float32)
  return _sum(behaviours) / count[:, None]


def _max(behaviours: Behaviours):
  num_groups = behaviours.lengths.shape[0]
  most = jax.ops.segment_max(
    behaviours.vectors, behaviours.group, num_groups, indices_are_sorted=True
  )
  return jnp.where(behaviours.lengths[:, None] > 0, most, 0)


def _latest(behaviours: Behaviours):
  """The latest behaviours side by side, the newest first, zeros behind."""
  width = behaviours.vectors.shape[1]
  room = jnp.zeros((behaviours.lengths.shape[0], LATEST, width))
  place = (behaviours.group, behaviours.recency)
  filled = room.at[place].set(behaviours.vectors, mode="drop")
  return filled.reshape(room.shape[0], LATEST * width)


JOINS: dict[str, Callable[[Behaviours], jax.Array]] = {
  "concat": _latest,
  "max": _max,
  "mean": _mean,
  "sum": _sum,
}
"""Behaviours -> a vector a group: what no ad has a say in."""


class Pooled(nnx.Module):
  """Joins the behaviours by a function of them alone.

  Args:
    widths: of what comes in.
    join: a key of JOINS.
  """

  def __init__(self, widths: Widths, *, join: str):
    self.join = join
    self.width = widths.image * (LATEST if join == "concat" else 1)

  def __call__(
    self, behaviours: Behaviours, queries: Queries
  ) -> Float[Array, "b _"]:
    del queries
    return self.of_groups(behaviours)[behaviours.sample_group]

  def of_groups(self, behaviours: Behaviours) -> Float[Array, "G _"]:
    """The joined vector of each group."""
    return JOINS[self.join](behaviours)
