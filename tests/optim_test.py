"""Sparse updates equal the dense optimiser's where they promise to."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dicm_jax import errors, optim
from dicm_jax.sharding import table

NUM_ROWS, WIDTH = 700, 5


def _config(name: str, **overrides) -> optim.OptimizerConfig:
  values = {"learning_rate": 0.1, "decay_rate": 1.0, "decay_steps": 10}
  return optim.OptimizerConfig(name=name, **(values | overrides))


def _batches(steps: int):
  """Rows with repeats and the gradient of each occurrence."""
  rng = np.random.default_rng(0)
  for _ in range(steps):
    rows = rng.integers(0, 60, 90)
    yield rows, rng.normal(size=(90, WIDTH)).astype(np.float32)


def _summed(rows, gradients):
  """Distinct rows, EMPTY-padded, with their summed gradients."""
  distinct, index = np.unique(rows, return_inverse=True)
  total = np.zeros((len(distinct) + 7, WIDTH), np.float32)
  np.add.at(total, index, gradients)
  padded = np.full(len(total), table.EMPTY, np.int32)
  padded[: len(distinct)] = distinct
  return jnp.asarray(padded), jnp.asarray(total)


@pytest.mark.parametrize("name", ["adagrad", "sgd"])
def test_touched_rows_equal_the_dense_optimiser_on_the_whole_table(name):
  optimizer = optim.make(_config(name), optim.SPARSE, "sparse_optimizer")
  start = np.random.default_rng(1).normal(size=(NUM_ROWS, WIDTH))
  dense = jnp.asarray(start, jnp.float32)
  dense_slots = optimizer.init(dense)
  shard = jnp.asarray(table.to_buckets(np.asarray(dense)))
  slots = optimizer.init(shard)
  update = jax.jit(lambda *args: optim.update_rows(optimizer, *args))
  for rows, gradients in _batches(20):
    shard, slots = update(shard, slots, *_summed(rows, gradients))
    whole = jnp.zeros_like(dense).at[rows].add(gradients)
    updates, dense_slots = optimizer.update(whole, dense_slots, dense)
    dense = optax.apply_updates(dense, updates)
  # Repeated gradients are summed in another order: 1e-6 of the values.
  found = table.from_buckets(np.asarray(shard), NUM_ROWS)
  np.testing.assert_allclose(found, dense, rtol=1e-5, atol=1e-6)
  assert not np.allclose(found[:60], start[:60], atol=0.01)


def test_default_adagrad_is_optax_adagrad_row_for_row():
  optimizer = optim.make(_config("adagrad"), optim.SPARSE, "sparse_optimizer")
  reference = optax.adagrad(
    0.1, initial_accumulator_value=optim.INITIAL_ACCUMULATOR
  )
  shard = jnp.asarray(table.to_buckets(np.ones((NUM_ROWS, WIDTH), np.float32)))
  dense = jnp.ones((NUM_ROWS, WIDTH))
  slots, dense_slots = optimizer.init(shard), reference.init(dense)
  for rows, gradients in _batches(5):
    shard, slots = optim.update_rows(
      optimizer, shard, slots, *_summed(rows, gradients)
    )
    whole = jnp.zeros_like(dense).at[rows].add(gradients)
    updates, dense_slots = reference.update(whole, dense_slots, dense)
    dense = optax.apply_updates(dense, updates)
  for ours, theirs in ((shard, dense), (slots[0][0], dense_slots[0][0])):
    found = table.from_buckets(np.asarray(ours), NUM_ROWS)
    np.testing.assert_allclose(found, theirs, rtol=1e-5, atol=1e-6)


def test_untouched_rows_and_slots_stay_as_they_are():
  optimizer = optim.make(_config("adam"), optim.SPARSE, "sparse_optimizer")
  shard = jnp.ones((256, 2, WIDTH))
  slots = optimizer.init(shard)
  rows = jnp.array([3, 300, table.EMPTY], jnp.int32)
  new, new_slots = optim.update_rows(
    optimizer, shard, slots, rows, jnp.ones((3, WIDTH))
  )
  moved = np.argwhere((np.asarray(new) != 1).any(axis=2)).tolist()
  assert moved == [[0b00110100, 1], [0b11000000, 0]]
  assert int(new_slots[0].count) == 1
  assert (np.asarray(new_slots[0].mu) != 0).any(axis=2).sum() == 2


def test_rows_updated_in_parts_count_as_one_step():
  config = _config("adam", decay_rate=0.5, decay_steps=2)
  optimizer = optim.make(config, optim.SPARSE, "sparse_optimizer")
  whole = parts = jnp.ones((256, 2, WIDTH))
  slots = part_slots = optimizer.init(whole)
  rows = jnp.array([3, 300, 17], jnp.int32)
  rng = np.random.default_rng(0)
  for _ in range(4):
    gradients = jnp.asarray(rng.normal(size=(3, WIDTH)), jnp.float32)
    whole, slots = optim.update_rows(optimizer, whole, slots, rows, gradients)
    before = part_slots
    for part in (slice(0, 2), slice(2, 3)):
      parts, part_slots = optim.update_rows(
        optimizer,
        parts,
        part_slots,
        rows[part],
        gradients[part],
        before=before,
      )
  # The same arithmetic, number for number, but compiled for other shapes.
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
    (parts, part_slots),
    (whole, slots),
  )


def test_paper_schedule_multiplies_the_rate_every_so_many_steps():
  config = _config("sgd", decay_rate=0.9, decay_steps=2)
  optimizer = optim.make(config, optim.DENSE, "dense_optimizer")
  value, slots = jnp.zeros(()), optimizer.init(jnp.zeros(()))
  seen = []
  for _ in range(5):
    update, slots = optimizer.update(jnp.ones(()), slots, value)
    seen.append(float(-update))
  np.testing.assert_allclose(seen, [0.1, 0.1, 0.09, 0.09, 0.081], rtol=1e-6)


def test_unknown_name_gives_the_nearest():
  with pytest.raises(errors.InputError, match=r"'adagard'; did you mean 'adag"):
    optim.make(_config("adagard"), optim.SPARSE, "sparse_optimizer")


@pytest.mark.parametrize(
  "field", ["learning_rate", "decay_rate", "decay_steps"]
)
def test_value_out_of_range_is_named(field):
  with pytest.raises(errors.InputError, match=f"{field} must be > 0, found 0"):
    _config("sgd", **{field: 0 * _config("sgd").__dict__[field]})
