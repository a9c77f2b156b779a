"""Sparse updates equal the dense optimiser's where they promise to."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dicm_jax import errors, optim
from dicm_jax.sharding import table
from tests.optimizers import touches

NUM_ROWS, WIDTH = touches.NUM_ROWS, touches.WIDTH


@pytest.mark.parametrize("name", ["adagrad", "sgd"])
def test_touched_rows_equal_the_dense_optimiser_on_the_whole_table(name):
  optimizer = optim.make_sparse(touches.sparse(name))
  start = np.random.default_rng(1).normal(size=(NUM_ROWS, WIDTH))
  dense = jnp.asarray(start, jnp.float32)
  dense_slots = optimizer.init(dense)
  shard = jnp.asarray(table.to_buckets(np.asarray(dense)))
  slots = optimizer.init(shard)
  update = jax.jit(lambda *args: optim.update_rows(optimizer, *args))
  for rows, gradients in touches.batches(20):
    shard, slots = update(shard, slots, *touches.summed(rows, gradients))
    whole = jnp.zeros_like(dense).at[rows].add(gradients)
    updates, dense_slots = optimizer.update(whole, dense_slots, dense)
    dense = optax.apply_updates(dense, updates)
  # Repeated gradients are summed in another order: 1e-6 of the values.
  found = table.from_buckets(np.asarray(shard), NUM_ROWS)
  np.testing.assert_allclose(found, dense, rtol=1e-5, atol=1e-6)
  assert not np.allclose(found[:60], start[:60], atol=0.01)


def test_default_adagrad_is_optax_adagrad_row_for_row():
  optimizer = optim.make_sparse(touches.sparse("adagrad"))
  reference = optax.adagrad(
    0.1, initial_accumulator_value=optim.INITIAL_ACCUMULATOR
  )
  shard = jnp.asarray(table.to_buckets(np.ones((NUM_ROWS, WIDTH), np.float32)))
  dense = jnp.ones((NUM_ROWS, WIDTH))
  slots, dense_slots = optimizer.init(shard), reference.init(dense)
  for rows, gradients in touches.batches(5):
    shard, slots = optim.update_rows(
      optimizer,
      shard,
      slots,
      *map(jnp.asarray, touches.summed(rows, gradients)),
    )
    whole = jnp.zeros_like(dense).at[rows].add(gradients)
    updates, dense_slots = reference.update(whole, dense_slots, dense)
    dense = optax.apply_updates(dense, updates)
  for ours, theirs in ((shard, dense), (slots[0][0], dense_slots[0][0])):
    found = table.from_buckets(np.asarray(ours), NUM_ROWS)
    np.testing.assert_allclose(found, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", sorted(optim.SPARSE))
def test_untouched_rows_and_slots_stay_as_they_are(name):
  optimizer = optim.make_sparse(touches.sparse(name))
  shard = jnp.ones((256, 2, WIDTH))
  slots = optimizer.init(shard)
  rows = jnp.array([3, 300, table.EMPTY], jnp.int32)
  new, new_slots = optim.update_rows(
    optimizer, shard, slots, rows, jnp.ones((3, WIDTH))
  )
  before, after = (
    jax.tree.leaves((shard, slots)),
    jax.tree.leaves((new, new_slots)),
  )
  for old, now in zip(before, after, strict=True):
    assert optim.is_by_row(old, shard)
    moved = np.argwhere(np.asarray(old != now).any(axis=2)).tolist()
    assert moved == [[0b00110100, 1], [0b11000000, 0]]


def _temporary_bytes(optimizer, num_slots: int, width: int) -> int:
  """Memory of a compiled update of 900 rows besides the donated tables."""
  shard = jax.ShapeDtypeStruct((256, num_slots, width), jnp.float32)
  rows = jax.ShapeDtypeStruct((900,), jnp.int32)
  gradients = jax.ShapeDtypeStruct((900, width), jnp.float32)

  def update(shard, slots, rows, gradients):
    return optim.update_rows(optimizer, shard, slots, rows, gradients)

  slots = jax.eval_shape(optimizer.init, shard)
  step = jax.jit(update, donate_argnums=(0, 1))
  made = step.lower(shard, slots, rows, gradients).compile()
  return made.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("width", [1, WIDTH])
@pytest.mark.parametrize("name", sorted(optim.SPARSE))
def test_memory_of_an_update_does_not_depend_on_the_tables_size(name, width):
  """Rows of one number, or slots, are the case that XLA copied whole."""
  optimizer = optim.make_sparse(touches.sparse(name))
  small, large = (_temporary_bytes(optimizer, n, width) for n in (40, 4000))
  # A table of 4000 slots has 4 MB a number; small ones are padded a little.
  assert large <= small + 1024


def test_rows_updated_in_parts_count_as_one_step():
  optimizer = optim.make_sparse(
    touches.sparse("adam", decay_rate=0.5, decay_steps=2)
  )
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
  config = touches.dense("sgd", decay_rate=0.9, decay_steps=2)
  optimizer = optim.make_dense(config)
  value, slots = jnp.zeros(()), optimizer.init(jnp.zeros(()))
  seen = []
  for _ in range(5):
    update, slots = optimizer.update(jnp.ones(()), slots, value)
    seen.append(float(-update))
  np.testing.assert_allclose(seen, [0.1, 0.1, 0.09, 0.09, 0.081], rtol=1e-6)


def test_adam_of_the_paper_is_a_config():
  """Adam at 0.001, 0.9 of it every 24 000 steps, for 128 000 steps."""
  config = touches.dense(
    "adam", learning_rate=0.001, decay_rate=0.9, decay_steps=24_000
  )
  optimizer = optim.make_dense(config)
  adam, schedule = optimizer.init(jnp.zeros(()))
  for step, rate in (
    (0, 0.001),
    (23_999, 0.001),
    (24_000, 0.0009),
    (127_999, 0.001 * 0.9**5),
  ):
    now = schedule._replace(count=jnp.int32(step))
    # Adam's first step is of the rate's length, whatever the gradient.
    update, _ = optimizer.update(jnp.float32(7.0), (adam, now))
    # Rounding of 32 bits.
    np.testing.assert_allclose(update, -rate, rtol=1e-5)


def _dense_step(config: optim.DenseConfig, params, gradients):
  optimizer = optim.make_dense(config)
  return optimizer.update(gradients, optimizer.init(params), params)[0]


def test_dense_gradients_are_clipped_by_their_norm_over_all_parameters():
  config = touches.dense("sgd", learning_rate=1.0, clip_norm=1.0)
  params = {"a": jnp.zeros((2, 2)), "b": jnp.zeros(1)}
  long = {"a": jnp.full((2, 2), 1.5), "b": jnp.array([4.0])}
  short = {"a": jnp.full((2, 2), 0.1), "b": jnp.array([0.4])}
  found = _dense_step(config, params, long)  # The norm is 5.
  # Rounding of 32 bits.
  np.testing.assert_allclose(found["a"], jnp.full((2, 2), -0.3), rtol=1e-6)
  np.testing.assert_allclose(found["b"], [-0.8], rtol=1e-6)
  np.testing.assert_array_equal(
    _dense_step(config, params, short)["b"], -short["b"]
  )


def test_dense_penalty_is_on_kernels_after_the_clipping_before_adam():
  params = {"kernel": jnp.full((2, 2), 4.0), "bias": jnp.full(2, 4.0)}
  gradients = {"kernel": jnp.full((2, 2), -1.5), "bias": jnp.full(2, -1.5)}
  options = {"learning_rate": 1.0, "l2": 0.5}
  found = _dense_step(touches.dense("sgd", **options), params, gradients)
  np.testing.assert_array_equal(found["kernel"], jnp.full((2, 2), -0.5))
  np.testing.assert_array_equal(found["bias"], jnp.full(2, 1.5))
  clipped = touches.dense("sgd", clip_norm=1e-6, **options)
  found = _dense_step(clipped, params, gradients)
  # Of the clipped gradient 1e-6 is left, of the penalty all.
  np.testing.assert_allclose(found["kernel"], jnp.full((2, 2), -2.0), atol=2e-6)
  # Adam's first step is the sign, here of loss and penalty together.
  found = _dense_step(touches.dense("adam", **options), params, gradients)
  np.testing.assert_allclose(found["kernel"], jnp.full((2, 2), -1.0), rtol=1e-5)
  np.testing.assert_allclose(found["bias"], jnp.full(2, 1.0), rtol=1e-5)


def test_rmsprop_with_momentum_and_epsilon_equals_a_loop():
  """v and m as in Tieleman and Hinton's lecture 6e, m over the steps made."""
  options = {"learning_rate": 0.1, "momentum": 0.9, "epsilon": 0.5}
  optimizer = optim.make_dense(touches.dense("rmsprop", **options))
  value = jnp.array([1.0, -2.0])
  slots = optimizer.init(value)
  w, v, m = np.array([1.0, -2.0]), 0.0, 0.0
  for g in np.random.default_rng(0).normal(size=(20, 2)):
    update, slots = optimizer.update(jnp.asarray(g, jnp.float32), slots, value)
    value = optax.apply_updates(value, update)
    v = 0.9 * v + 0.1 * g**2
    m = 0.9 * m + 0.1 * g / np.sqrt(v + 0.5)
    w = w - m
  # 20 steps in 32 bits.
  np.testing.assert_allclose(value, w, rtol=1e-5)


@pytest.mark.parametrize(
  ("name", "key"),
  [("adam", "momentum"), ("lion", "momentum"), ("sgd", "epsilon")],
)
def test_key_that_a_dense_optimiser_does_not_heed_is_refused(name, key):
  with pytest.raises(errors.InputError) as caught:
    optim.make_dense(touches.dense(name, **{key: 0.5}))
  assert str(caught.value) == (
    f"dense_optimizer.{key}: expected 0 where dense_optimizer.name is "
    f"{name!r}, found 0.5"
  )


def test_momentum_sums_the_steps_of_sgd():
  options = {"learning_rate": 1.0, "momentum": 0.5}
  optimizer = optim.make_dense(touches.dense("sgd", **options))
  slots, seen = optimizer.init(jnp.zeros(())), []
  for _ in range(3):
    update, slots = optimizer.update(jnp.ones(()), slots)
    seen.append(float(-update))
  assert seen == [1, 1.5, 1.75]


def _penalty(strength: float, inverse_counts, **options):
  config = touches.sparse(
    "sgd", learning_rate=1.0, adaptive_l2=strength, **options
  )
  return optim.make_sparse(config, table.to_buckets(inverse_counts))


def test_adaptive_penalty_is_shared_out_over_a_rows_samples():
  start = touches.first_rows()
  counts = np.random.default_rng(2).integers(1, 9, (NUM_ROWS, 1))
  inverse = (1 / counts).astype(np.float32)
  found, _ = touches.train(_penalty(0.3, inverse), start, 20)
  expected = start.astype(np.float64)
  for rows, gradients in touches.touched(20):
    expected[rows] -= gradients + 0.3 / counts[rows] * expected[rows]
  # 20 steps in 32 bits.
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_row_gradients_are_clipped_before_the_penalty():
  optimizer = _penalty(0.5, np.ones((3, 1), np.float32), clip_norm=1.0)
  shard = jnp.full((256, 1, 2), 4.0)
  new, _ = optim.update_rows(
    optimizer,
    shard,
    optimizer.init(shard),
    jnp.array([0, 1]),
    jnp.array([[30.0, 40.0], [0.3, 0.4]]),
  )
  moved = table.from_buckets(np.asarray(shard - new), 3)
  # Rounding of 32 bits.
  np.testing.assert_allclose(moved, [[2.6, 2.8], [2.3, 2.4], [0, 0]], rtol=1e-6)


@pytest.mark.parametrize("name", sorted(optim.SPARSE))
def test_before_its_first_step_nothing_of_an_optimiser_happened(name):
  start = touches.first_rows()
  late = optim.make_sparse(touches.sparse(name, start_step=4))
  found, slots = touches.train(late, start, 4)
  np.testing.assert_array_equal(found, start)
  first = late.init(jnp.asarray(table.to_buckets(start)))
  assert int(slots.step) == 4
  jax.tree.map(
    np.testing.assert_array_equal, slots.inner_state, first.inner_state
  )
  found, _ = touches.train(late, start, 5)
  assert (found[:60] != start[:60]).any(axis=1).mean() > 0.5


def test_schedule_begins_with_the_first_step():
  options = {"learning_rate": 1.0, "decay_rate": 0.5, "decay_steps": 1}
  late = optim.make_sparse(touches.sparse("sgd", start_step=2, **options))
  shard = jnp.zeros((256, 1, 1))
  slots, seen = late.init(shard), []
  for _ in range(5):
    shard, slots = optim.update_rows(
      late, shard, slots, jnp.array([0]), jnp.array([[-1.0]])
    )
    seen.append(float(shard[0, 0, 0]))
  assert seen == [0, 0, 1, 1.5, 1.75]


def test_l2_draws_rows_that_are_touched_to_zero():
  made = optim.make_sparse(touches.sparse("sgd", learning_rate=1.0, l2=0.25))
  shard = jnp.ones((256, 1, 2))
  shard, _ = optim.update_rows(
    made, shard, made.init(shard), jnp.array([0]), jnp.zeros((1, 2))
  )
  assert shard[0, 0].tolist() == [0.75, 0.75]
  assert (shard[1:] == 1).all()


@pytest.mark.parametrize(
  ("name", "key", "value", "expected"),
  [
    ("adagrad", "l1", 0.1, 0),
    ("adam", "l1", 0.1, 0),
    ("sgd", "l1", 0.1, 0),
    ("ftrl", "decay_rate", 0.5, 1),
  ],
)
def test_key_that_an_optimiser_does_not_heed_is_refused(
  name, key, value, expected
):
  with pytest.raises(errors.InputError) as caught:
    optim.check_sparse(touches.sparse(name, **{key: value}))
  assert str(caught.value) == (
    f"sparse_optimizer.{key}: expected {expected} where sparse_optimizer.name "
    f"is {name!r}, found {value}"
  )


def test_unknown_name_gives_the_nearest():
  with pytest.raises(errors.InputError, match=r"'adagard'; did you mean 'adag"):
    optim.make_sparse(touches.sparse("adagard"))


@pytest.mark.parametrize(
  "field", ["learning_rate", "decay_rate", "decay_steps"]
)
def test_value_out_of_range_is_named(field):
  with pytest.raises(errors.InputError, match=f"{field} must be > 0, found 0"):
    touches.sparse("sgd", **{field: 0 * touches.CONFIG[field]})
