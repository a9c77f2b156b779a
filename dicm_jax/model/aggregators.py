"""Ways to join a user's behaviour image vectors into one, by name.

Each takes the vectors of all groups' behaviours end to end and the pairs of
(sample, behaviour) that belong together; a sample without behaviours gets
zeros.
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from flax import nnx
from jaxtyping import Array, Float

from dicm_jax.model import attention, pooling, simtier
from dicm_jax.model.behaviours import Behaviours, Queries, Widths


@runtime_checkable
class Aggregator(Protocol):
  """A module that joins behaviours."""

  width: int
  """Of what comes out."""

  def __call__(
    self, behaviours: Behaviours, queries: Queries
  ) -> Float[Array, "b _"]: ...


COMPARING: dict[str, Callable[..., Aggregator]] = {
  "attentive": attention.Attentive,
  "multi_query_attentive": attention.MultiQueryAttentive,
  "simtier": simtier.SimTier,
  "target_attention": attention.TargetAttention,
}
"""Those that compare behaviours with the ad."""


def names() -> tuple[str, ...]:
  return (*pooling.JOINS, *COMPARING)


def make(
  name: str, widths: Widths, *, normalize: str, rngs: nnx.Rngs
) -> Aggregator:
  """Builds an aggregator.

  Args:
    name: one of `names`.
    widths: of the vectors that come in.
    normalize: how the paper's attention weights are scaled, a key of
      attention.NORMALIZE.
    rngs: stream of the initial weights.
  """
  if name in pooling.JOINS:
    return pooling.Pooled(widths, join=name)
  return COMPARING[name](widths, normalize=normalize, rngs=rngs)
