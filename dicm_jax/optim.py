"""Optimisers by name, and their use on the touched rows of a table alone."""

from collections.abc import Callable
import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, PyTree
import numpy as np
import optax

from dicm_jax import errors
from dicm_jax.optimizers import (
  adaptive_l2,
  clip_rows,
  from_optax,
  ftrl,
  lazy_adam,
  rowwise_adagrad,
)
from dicm_jax.sharding import table

DEVICE, HOST = TIERS = ("device", "host")
"""Where the ID table and its slots may lie."""

INITIAL_ACCUMULATOR = 1e-6
"""Where Adagrad's sums of squares start.

The usual 0.1 suits losses summed over a batch. Ours is the mean, whose
gradients are thousands of times smaller: 0.1 would outweigh them for the whole
run, and rare rows would hardly move.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
  """What both optimisers have: a rate, its course, and a clipping."""

  name: str
  learning_rate: float
  decay_rate: float
  """Factor on the learning rate every `decay_steps`; 1 keeps it."""
  decay_steps: int
  """Steps between two decays; the paper's Adam: 0.9 every 24 000."""
  clip_norm: float
  """Longest gradient let through, of the loss without penalties; 0: any."""

  def __post_init__(self):
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if isinstance(value, str):
        continue
      positive = field.name in ("learning_rate", "decay_rate", "decay_steps")
      if not (value > 0 if positive else value >= 0):
        raise errors.InputError(
          f"optimizer {self.name!r}: {field.name} must be "
          f"{'>' if positive else '>='} 0, found {value}"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SparseConfig(OptimizerConfig):
  """The optimiser of the ID table's rows; `clip_norm` is of each row's."""

  l1: float
  """Strength of FTRL's L1 penalty; 0 for all others."""
  l2: float
  """Strength of an L2 penalty: FTRL's own, else l2 * w on rows touched."""
  adaptive_l2: float
  """Strength of an L2 penalty shared out over a row's samples; 0: none."""
  start_step: int
  """Steps during which rows stay at their first values."""
  tier: str
  """Where the rows and their slots lie: device; or host, in the memory of the
  process, which may be larger. Then of each step its rows alone are there."""

  def __post_init__(self):
    super().__post_init__()
    if self.tier not in TIERS:
      raise errors.unknown_name("sparse_optimizer.tier", self.tier, TIERS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenseConfig(OptimizerConfig):
  """The optimiser of all other parameters; `clip_norm` is of all in one."""

  l2: float
  """Strength of the L2 penalty on kernels; 0: none."""
  momentum: float
  """Share of the last step that the next one keeps, < 1; 0: optax's own, which
  is none for sgd and rmsprop."""
  epsilon: float
  """What is added to a divisor; 0: optax's own, 1e-8 for rmsprop."""

  def __post_init__(self):
    super().__post_init__()
    if self.momentum >= 1:
      raise errors.InputError(
        f"optimizer {self.name!r}: momentum must be < 1, found {self.momentum}"
      )


def _rate(config: OptimizerConfig) -> from_optax.Rate:
  if config.decay_rate == 1:
    return config.learning_rate
  return optax.exponential_decay(
    config.learning_rate, config.decay_steps, config.decay_rate, staircase=True
  )


def _with_rate(direction: optax.GradientTransformation, config: SparseConfig):
  return optax.chain(direction, optax.scale_by_learning_rate(_rate(config)))


SPARSE: dict[str, Callable[[SparseConfig], optax.GradientTransformation]] = {
  "adagrad": lambda config: optax.adagrad(
    _rate(config), initial_accumulator_value=INITIAL_ACCUMULATOR
  ),
  "adam": lambda config: _with_rate(lazy_adam.scale_by_lazy_adam(), config),
  "ftrl": lambda config: ftrl.ftrl(
    config.learning_rate, l1=config.l1, l2=config.l2
  ),
  "rowwise_adagrad": lambda config: _with_rate(
    rowwise_adagrad.scale_by_rowwise_adagrad(INITIAL_ACCUMULATOR), config
  ),
  "sgd": lambda config: optax.sgd(_rate(config)),
}


def check_sparse(config: SparseConfig) -> None:
  """Finds out whether `make_sparse` can be, before there are data.

  Raises:
    InputError: no such optimiser, or a key that it does not heed is set.
  """
  if config.name not in SPARSE:
    raise errors.unknown_name("sparse_optimizer.name", config.name, SPARSE)
  # FTRL's sums would mix what was divided by different rates.
  idle = {"decay_rate": 1} if config.name == "ftrl" else {"l1": 0}
  for field, expected in idle.items():
    if getattr(config, field) != expected:
      raise errors.InputError(
        f"sparse_optimizer.{field}: expected {expected} where "
        f"sparse_optimizer.name is {config.name!r}, found "
        f"{getattr(config, field)}"
      )


def make_sparse(
  config: SparseConfig,
  inverse_counts: Float[np.ndarray, "buckets slots 1"] | None = None,
) -> optax.GradientTransformation:
  """Builds the optimiser of the ID table's rows.

  The gradient of the loss is clipped, then the penalty is added, then the
  optimiser runs. Before `start_step` nothing of it happens, so schedules and
  slots begin there.

  Args:
    config: which optimiser.
    inverse_counts: 1 / number of training samples of each row, laid out as
      the table is; only `adaptive_l2` needs it.

  Raises:
    InputError: see `check_sparse`.
  """
  check_sparse(config)
  parts = []
  if config.clip_norm:
    parts.append(clip_rows.clip_rows(config.clip_norm))
  if config.l2 and config.name != "ftrl":
    parts.append(optax.add_decayed_weights(config.l2))
  if config.adaptive_l2:
    assert inverse_counts is not None
    parts.append(
      adaptive_l2.add_adaptive_l2(config.adaptive_l2, inverse_counts)
    )
  made = _in_turn([*parts, SPARSE[config.name](config)])
  return _from_step(config.start_step, made) if config.start_step else made


_DENSE_NAME = "dense_optimizer.name"
_OPTIONS = {"momentum": "momentum", "epsilon": "eps"}
"""Keys that some optimisers of optax heed, and what optax calls them."""


def _options(config: DenseConfig) -> dict[str, float]:
  """What a config tells an optimiser of optax besides the rate."""
  known = from_optax.options(_DENSE_NAME, config.name)
  given = {key: getattr(config, key) for key in _OPTIONS}
  given = {key: value for key, value in given.items() if value}
  for key, value in given.items():
    if _OPTIONS[key] not in known:
      raise errors.InputError(
        f"dense_optimizer.{key}: expected 0 where dense_optimizer.name is "
        f"{config.name!r}, found {value}"
      )
  return {_OPTIONS[key]: value for key, value in given.items()}


def make_dense(config: DenseConfig) -> optax.GradientTransformation:
  """Builds the optimiser of all parameters but the ID table.

  Any optimiser of optax that runs on a learning rate alone. The gradient of
  the loss is clipped to a norm over all parameters at once. Then l2 * w is
  added to that of the kernels, parameters of two axes or more; biases and
  slopes of activations go free. Then the optimiser runs, so that one that
  rescales its gradients rescales the penalty with them: the plain L2 of
  papers, not the decoupled decay of AdamW.

  Raises:
    InputError: no such optimiser, or a key that it does not heed is set.
  """
  made = from_optax.make(
    _DENSE_NAME, config.name, _rate(config), **_options(config)
  )
  parts = []
  if config.clip_norm:
    parts.append(optax.clip_by_global_norm(config.clip_norm))
  if config.l2:
    parts.append(optax.add_decayed_weights(config.l2, mask=_kernels))
  return _in_turn([*parts, made])


def _from_step(start: int, optimizer: optax.GradientTransformation):
  def started(step, **_):
    return jnp.greater_equal(step, start)

  return optax.conditionally_mask(optimizer, started)


def _kernels(params: PyTree) -> PyTree:
  return jax.tree.map(lambda leaf: leaf.ndim >= 2, params)


def _in_turn(parts: list[optax.GradientTransformation]):
  # A chain of one would wrap the state: other checkpoints for the same run.
  return optax.chain(*parts) if len(parts) > 1 else parts[0]


def is_by_row(
  leaf: jax.Array | np.ndarray | jax.ShapeDtypeStruct,
  rows: jax.Array | np.ndarray | jax.ShapeDtypeStruct,
) -> bool:
  """Whether a slot has one number, or D, for each row of a table.

  Args:
    leaf: a leaf of the slots, or its shape.
    rows: the table or a shard of it, [buckets, slots, D], or its shape.
  """
  return leaf.ndim == rows.ndim and leaf.shape[:-1] == rows.shape[:-1]


class Touched(NamedTuple):
  """What an optimiser makes of the rows touched."""

  rows: Float[jax.Array, "K D"]
  slots: optax.OptState
  """Of those rows; others, such as step counts, of the whole table."""


def update_rows(
  optimizer: optax.GradientTransformation,
  shard: Float[jax.Array, "buckets slots D"],
  slots: optax.OptState,
  rows: Int[jax.Array, " K"],
  gradients: Float[jax.Array, "K D"],
  *,
  before: optax.OptState | None = None,
  ok: Bool[jax.Array, ""] | bool = True,
) -> tuple[Float[jax.Array, "buckets slots D"], optax.OptState]:
  """Runs an optimiser on the touched rows of a table's shard.

  Time and memory do not depend on the table's size. For an optimiser that
  leaves a row with zero gradient alone (Adagrad, SGD) the result is that of
  the dense optimiser on the whole table.

  Args:
    optimizer: any optax transformation that works row by row.
    shard: rows this device owns.
    slots: `optimizer.init(shard)`: leaves [buckets, slots, D or 1] are of the
      rows, others (step counts) belong to the whole table.
    rows: distinct rows, EMPTY where there is none.
    gradients: summed gradient of each row.
    before: slots at the step's start, where a step updates its rows in several
      parts: the step count is taken from there, so that it moves once a step.
    ok: if False, nothing changes.

  Returns:
    The new shard and slots.
  """
  touched = touch_rows(optimizer, shard, slots, rows, gradients, before=before)
  return write_rows(shard, slots, rows, touched, ok)


def touch_rows(
  optimizer: optax.GradientTransformation,
  shard: Float[jax.Array, "buckets slots D"],
  slots: optax.OptState,
  rows: Int[jax.Array, " K"],
  gradients: Float[jax.Array, "K D"],
  *,
  before: optax.OptState | None = None,
) -> Touched:
  """The first half of `update_rows`: it writes nothing; arguments as there."""

  def gather(leaf, start) -> jax.Array:
    return table.read(leaf, rows) if is_by_row(leaf, shard) else start

  values = table.read(shard, rows)
  starts = slots if before is None else before
  updates, new_slots = optimizer.update(
    gradients, jax.tree.map(gather, slots, starts), values
  )
  new: jax.Array = optax.apply_updates(values, updates)  # pyright: ignore
  return Touched(new, new_slots)


def write_rows(
  shard: Float[jax.Array, "buckets slots D"],
  slots: optax.OptState,
  rows: Int[jax.Array, " K"],
  touched: Touched,
  ok: Bool[jax.Array, ""] | bool = True,
) -> tuple[Float[jax.Array, "buckets slots D"], optax.OptState]:
  """The second half of `update_rows`.

  Args:
    shard: as there.
    slots: as there.
    rows: as there.
    touched: what `touch_rows` made of them.
    ok: if False, nothing changes.

  Returns:
    The new shard and slots.
  """
  written = jnp.where(ok, rows, table.EMPTY)  # No copy of what is there.

  def put(leaf, new) -> jax.Array:
    if is_by_row(leaf, shard):
      return table.write(leaf, written, new)
    return jnp.where(ok, new, leaf)

  return put(shard, touched.rows), jax.tree.map(put, slots, touched.slots)


def is_finite(
  touched: Touched, rows: Int[jax.Array, " K"]
) -> Bool[jax.Array, ""]:
  """Whether all numbers are; those of padding mean nothing."""
  there = rows != table.EMPTY

  def of(leaf):
    finite = jnp.isfinite(leaf)
    if is_by_row(leaf, touched.rows):
      finite |= ~there[:, None]
    return finite.all()

  return jnp.stack([of(leaf) for leaf in jax.tree.leaves(touched)]).all()
