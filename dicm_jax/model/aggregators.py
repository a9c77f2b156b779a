"""Ways to join a user's behaviour image vectors into one, by name.

Each takes the vectors of all groups' behaviours end to end and the pairs of
(sample, behaviour) that belong together; a sample without behaviours gets
zeros.
"""

from collections.abc import Callable

from flax import nnx

from dicm_jax.model import attention, pooling, simtier
from dicm_jax.model.behaviours import Widths

Aggregator = (
  attention.Attentive
  | attention.MultiQueryAttentive
  | attention.TargetAttention
  | pooling.Pooled
  | simtier.SimTier
)

_COMPARING: dict[str, Callable[..., Aggregator]] = {
  "attentive": attention.Attentive,
  "multi_query_attentive": attention.MultiQueryAttentive,
  "simtier": simtier.SimTier,
  "target_attention": attention.TargetAttention,
}
NAMES = (*pooling.JOINS, *_COMPARING)


def make(
  name: str, widths: Widths, *, normalize: str, rngs: nnx.Rngs
) -> Aggregator:
  """Builds an aggregator.

  Args:
    name: one of NAMES.
    widths: of the vectors that come in.
    normalize: how the paper's attention weights are scaled, a key of
      attention.NORMALIZE.
    rngs: stream of the initial weights.
  """
  if name in pooling.JOINS:
    return pooling.Pooled(widths, join=name)
  return _COMPARING[name](widths, normalize=normalize, rngs=rngs)
