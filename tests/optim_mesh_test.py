"""Slots lie with their rows: on every mesh the sparse optimisers are one."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dicm_jax import checkpoint, optim
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import table
from tests import toy
from tests.data import occurrences_test
from tests.optimizers import touches
from tests.train_test import assert_same_run

OPTIMISERS = {
  "adam": {"learning_rate": 0.001},
  "ftrl": {"learning_rate": 10.0, "l1": 0.001, "l2": 0.01},
  "rowwise_adagrad": {},
}


def _keys(name: str, **options):
  options = OPTIMISERS[name] | options | {"name": name}
  return {f"sparse_optimizer__{key}": v for key, v in options.items()}


def _owned(rows, gradients, devices: int):
  """The rows of each device, EMPTY elsewhere, with their gradients."""
  owner = table.owner_of(rows, devices)
  mine = np.where(owner == np.arange(devices)[:, None], rows, table.EMPTY)
  return mine, np.broadcast_to(gradients, (devices, *gradients.shape))


def _update_on(mesh, optimizer, ids, slots):
  """Compiles `update_rows` with each device at its own rows."""

  def place(leaf):
    return mesh_lib.BATCH if optim.is_by_row(leaf, ids) else jax.P()

  specs = (mesh_lib.BATCH, jax.tree.map(place, slots))

  def on_device(ids, slots, rows, gradients):
    return optim.update_rows(optimizer, ids, slots, rows[0], gradients[0])

  return jax.jit(
    jax.shard_map(
      on_device,
      mesh=mesh,
      in_specs=(*specs, mesh_lib.BATCH, mesh_lib.BATCH),
      out_specs=specs,
      check_vma=False,
    )
  )


@pytest.mark.parametrize("name", sorted(optim.SPARSE))
def test_rows_split_over_owners_are_updated_as_on_one_device(name):
  config = touches.sparse(name, adaptive_l2=0.1, clip_norm=5.0, start_step=2)
  inverse = np.full((touches.NUM_ROWS, 1), 0.25, np.float32)
  optimizer = optim.make_sparse(config, table.to_buckets(inverse))
  start = touches.first_rows()
  expected, expected_slots = touches.train(optimizer, start, 10)
  mesh = mesh_lib.make_mesh(2, 4)
  ids = mesh_lib.put(mesh, mesh_lib.BATCH, table.to_buckets(start))
  slots = optimizer.init(ids)
  update = _update_on(mesh, optimizer, ids, slots)
  for rows, gradients in touches.batches(10):
    rows, gradients = touches.summed(rows, gradients)
    ids, slots = update(ids, slots, *_owned(rows, gradients, 8))
  found = table.from_buckets(np.asarray(ids), touches.NUM_ROWS)
  # The same arithmetic, compiled for other shapes.
  np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7),
    slots,
    expected_slots,
  )
  shards = [x.sharding.spec for x in jax.tree.leaves(slots) if x.ndim]
  assert set(shards) <= {mesh_lib.BATCH}


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMISERS)
def test_mesh_does_not_change_the_run(name):
  keys = _keys(name)
  found = toy.run(toy.build(2, 4, **keys), 20)
  assert_same_run(found, toy.run(toy.build(1, 1, **keys), 20))
  assert found[1][-1] < found[1][0] - 0.05
  ids = np.asarray(found[0].ids)
  assert (ids == 0).any() == (name == "ftrl")


@pytest.mark.slow
def test_mesh_does_not_change_penalty_clipping_and_start():
  keys = _keys(
    "rowwise_adagrad", adaptive_l2=0.1, clip_norm=0.001, start_step=4
  ) | {"dense_optimizer__l2": 0.01, "dense_optimizer__clip_norm": 0.1}
  found = toy.run(toy.build(2, 4, **keys), 10)
  assert_same_run(found, toy.run(toy.build(1, 1, **keys), 10))


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMISERS)
def test_checkpoint_goes_on_on_another_mesh(name, tmp_path):
  keys = _keys(name, adaptive_l2=0.1, start_step=1)
  first = toy.build(1, 2, **keys).state
  # No two numbers of a leaf alike, as if trained.
  state = jax.tree.map(
    lambda x: x + jnp.arange(x.size, dtype=x.dtype).reshape(x.shape), first
  )
  with checkpoint.manager(tmp_path) as saved:
    checkpoint.save(saved, 3, state, {"step": 3})
  other = toy.build(2, 4, **keys)
  found, position = checkpoint.restore(tmp_path, other.state, other.inputs)
  assert position == {"step": 3}
  for left, right, like in zip(
    *map(jax.tree.leaves, (found, state, other.state)), strict=True
  ):
    np.testing.assert_array_equal(np.asarray(left), np.asarray(right))
    assert left.dtype == right.dtype
    assert left.sharding.is_equivalent_to(like.sharding, left.ndim)


def _moved_by_penalty(strength: float):
  """What the penalty alone moves in one step of SGD at rate 1."""
  plain = {
    "sparse_optimizer__name": "sgd",
    "sparse_optimizer__learning_rate": 1.0,
  }
  x = toy.build(1, 2, **plain, sparse_optimizer__adaptive_l2=strength)
  found, _ = toy.run(x, 1)
  without, _ = toy.run(toy.build(1, 2, **plain), 1)
  return x, *(
    table.from_buckets(np.asarray(ids), x.layout.num_rows)
    for ids in (without.ids - found.ids, x.state.ids)
  )


@pytest.mark.slow
def test_training_step_pulls_touched_rows_by_their_counts():
  x, moved, first = _moved_by_penalty(0.5)
  log, layout = x.data.train, x.layout

  def count(samples):
    return collections.Counter(
      row
      for sample in samples
      for row in occurrences_test.rows_of(log, layout, int(sample))
    )

  in_split, in_batch = count(range(log.num_samples)), count(x.order(0))
  expected = np.zeros_like(first)
  for row in in_batch:
    expected[row] = 0.5 / in_split[row] * first[row]
  assert 0 < len(in_batch) < layout.num_rows
  # The difference of two numbers of about 0.1 in 32 bits.
  np.testing.assert_allclose(moved, expected, rtol=0, atol=1e-7)


@pytest.mark.slow
def test_rows_wait_for_their_start_while_the_network_learns():
  x = toy.build(1, 2, sparse_optimizer__start_step=2)
  state, _ = toy.run(x, 2)
  np.testing.assert_array_equal(np.asarray(state.ids), np.asarray(x.state.ids))
  slots, first = state.id_slots.inner_state, x.state.id_slots.inner_state
  jax.tree.map(np.testing.assert_array_equal, slots, first)
  moved = jax.tree.map(
    lambda a, b: bool(jnp.any(a != b)), state.dense, x.state.dense
  )
  assert any(jax.tree.leaves(moved))
