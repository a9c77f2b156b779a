"""Optimisers by name, and their use on the touched rows of a table alone."""

from collections.abc import Callable
import dataclasses
import functools

import jax
from jaxtyping import Float, Int
import optax

from dicm_jax import errors
from dicm_jax.sharding import table

INITIAL_ACCUMULATOR = 1e-6
"""Where Adagrad's sums of squares start.

The usual 0.1 suits losses summed over a batch. Ours is the mean, whose
gradients are thousands of times smaller: 0.1 would outweigh them for the whole
run, and rare rows would hardly move.
"""

SPARSE: dict[str, Callable[..., optax.GradientTransformation]] = {
  "adagrad": functools.partial(
    optax.adagrad, initial_accumulator_value=INITIAL_ACCUMULATOR
  ),
  # Lazy: the moments of a row move only in the steps that touch it.
  "adam": optax.adam,
  "sgd": optax.sgd,
}
DENSE: dict[str, Callable[..., optax.GradientTransformation]] = {
  "adagrad": optax.adagrad,
  "adam": optax.adam,
  "rmsprop": optax.rmsprop,
  "sgd": optax.sgd,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
  """An optimiser and its learning rate schedule."""

  name: str
  learning_rate: float
  decay_rate: float
  """Factor on the learning rate every `decay_steps`; 1 keeps it."""
  decay_steps: int
  """Steps between two decays; the paper's Adam: 0.9 every 24 000."""

  def __post_init__(self):
    for field in ("learning_rate", "decay_rate", "decay_steps"):
      if not getattr(self, field) > 0:
        raise errors.InputError(
          f"optimizer {self.name!r}: {field} must be > 0, found "
          f"{getattr(self, field)}"
        )


def make(
  config: OptimizerConfig,
  known: dict[str, Callable[..., optax.GradientTransformation]],
  kind: str,
) -> optax.GradientTransformation:
  """Builds an optimiser of `known` (SPARSE or DENSE) by its name.

  Raises:
    InputError: no such name; the message gives the nearest one.
  """
  if config.name not in known:
    raise errors.unknown_name(f"{kind}.name", config.name, known)
  rate = config.learning_rate
  if config.decay_rate != 1:
    rate = optax.exponential_decay(
      rate, config.decay_steps, config.decay_rate, staircase=True
    )
  return known[config.name](rate)


def update_rows(
  optimizer: optax.GradientTransformation,
  shard: Float[jax.Array, "buckets slots D"],
  slots: optax.OptState,
  rows: Int[jax.Array, " K"],
  gradients: Float[jax.Array, "K D"],
  *,
  before: optax.OptState | None = None,
) -> tuple[Float[jax.Array, "buckets slots D"], optax.OptState]:
  """Runs an optimiser on the touched rows of a table's shard.

  Time and memory do not depend on the table's size. For an optimiser that
  leaves a row with zero gradient alone (Adagrad, SGD) the result is that of
  the dense optimiser on the whole table.

  Args:
    optimizer: any optax transformation that works element by element.
    shard: rows this device owns.
    slots: `optimizer.init(shard)`: leaves shaped like the shard hold a value a
      row, others (step counts) belong to the whole table.
    rows: distinct rows, EMPTY where there is none.
    gradients: summed gradient of each row.
    before: slots at the step's start, where a step updates its rows in several
      parts: the step count is taken from there, so that it moves once a step.

  Returns:
    The new shard and slots.
  """

  def is_rows(leaf):
    return leaf.shape == shard.shape

  def gather(leaf, start) -> jax.Array:
    return table.read(leaf, rows) if is_rows(leaf) else start

  def scatter(leaf, new) -> jax.Array:
    return table.write(leaf, rows, new) if is_rows(leaf) else new

  values = table.read(shard, rows)
  starts = slots if before is None else before
  updates, new_slots = optimizer.update(
    gradients, jax.tree.map(gather, slots, starts), values
  )
  new_shard = scatter(shard, optax.apply_updates(values, updates))
  return new_shard, jax.tree.map(scatter, slots, new_slots)
