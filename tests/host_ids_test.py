"""ID rows that lie on the host train as those on the devices do, to the bit."""

import dataclasses
import functools
import gc

import jax
import numpy as np
import pytest

from dicm_jax import (
  checkpoint,
  errors,
  evaluate,
  experiment,
  host_ids,
  ledger_report,
  loop,
  restore,
  training,
)
from dicm_jax import state as state_lib
from dicm_jax.sharding import normal_blocks
from tests import toy, warm_up_test
from tests.optim_mesh_test import OPTIMISERS
from tests.train_test import with_capacity
from tests.windows_test import same_bits

STEPS = 12
HOST = {"sparse_optimizer__tier": "host"}
# Rows lie in many slots of their buckets; few batches have all of them.
SPREAD = {"data": toy.reordered("spread"), "train__batch_size": 16}


@functools.cache
def on_device(worker=1, server=1):
  return toy.run(toy.build(worker, server, **SPREAD), STEPS)


def run_on_host(x, state=None, first: int = 0, **options):
  """Trains with no look at a loss before the end: steps follow closely."""
  made, losses = training.of(x, **options), []
  state = jax.tree.map(lambda leaf: leaf.copy(), state if state else x.state)
  for pair in made.batches(first, STEPS):
    state, loss = made.step(state, pair)
    losses.append(loss)
  return made.at_rest(state), np.array(losses)


def test_one_device_makes_the_same_bits():
  x = toy.build(**SPREAD, **HOST)
  assert same_bits(toy.run(x, STEPS), on_device())
  assert same_bits(run_on_host(x), on_device())


@pytest.mark.parametrize(
  ("worker", "server"),
  [(1, 8), pytest.param(2, 4, marks=pytest.mark.slow)],
)
def test_a_mesh_makes_the_same_bits(worker, server):
  x = toy.build(worker, server, **SPREAD, **HOST)
  assert same_bits(run_on_host(x), on_device(worker, server))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*OPTIMISERS, "sgd"])
def test_slots_of_all_optimisers_come_back(name):
  options = OPTIMISERS.get(name, {}) | {
    "name": name,
    "adaptive_l2": 0.1,
    "start_step": 2,
  }
  keys = {f"sparse_optimizer__{key}": v for key, v in options.items()}
  expected = toy.run(toy.build(1, 2, **SPREAD, **keys), STEPS)
  x = toy.build(1, 2, **SPREAD, **keys, **HOST)
  assert same_bits(run_on_host(x), expected)


@pytest.mark.slow
def test_rounds_end_at_the_same_rows():
  """Numbers ascend as rows do, so a route cuts them at the same places."""
  options = SPREAD | {"train__batch_size": 64}
  made = [
    with_capacity(toy.build(1, 8, **options, **tier), 2) for tier in ({}, HOST)
  ]
  assert same_bits(run_on_host(made[1]), toy.run(made[0], STEPS))


@pytest.mark.slow
@pytest.mark.parametrize("asks_ahead", [False, True])
def test_all_tables_on_the_host(asks_ahead):
  x = toy.build(1, 2, image__tier="host", **SPREAD, **HOST)
  assert x.content.table is None
  expected = toy.run(toy.build(1, 2, image__tier="host", **SPREAD), STEPS)
  assert same_bits(run_on_host(x, asks_ahead=asks_ahead), expected)


def test_without_the_patch_rows_would_be_those_of_two_steps_before(monkeypatch):
  """That the tests above would see it: batches here share rows."""
  monkeypatch.setattr(
    host_ids, "_make_patch", lambda _: lambda before, fetched, newer: fetched
  )
  _, losses = run_on_host(toy.build(**SPREAD, **HOST))
  differ = losses != on_device()[1].astype(np.float32)
  assert not differ[0] and differ[1:].all()


@pytest.mark.parametrize("order", [[0, 1, 1, 2, 4], [4, 3, 0, 4]])
def test_batches_other_than_announced_are_read_anew(order):
  losses = []
  for tier in ({}, HOST):
    x = toy.build(**SPREAD, **tier)
    made, state = training.of(x), x.state
    batches = list(made.batches(0, 5))
    losses.append([])
    for number in order:
      state, loss = made.step(state, batches[number])
      losses[-1].append(float(loss))
  assert losses[0] == losses[1]


def test_predictions_are_the_same():
  x, other = toy.build(**SPREAD), toy.build(**SPREAD, **HOST)
  expected = evaluate.predict(x, x.state, x.data.test)
  before = other.state.ids.copy()
  found = evaluate.predict(other, other.state, other.data.test)
  assert np.array_equal(found, expected)
  assert np.array_equal(other.state.ids, before)


def test_a_row_that_no_batch_reads_makes_a_state_useless():
  x = toy.build(**SPREAD, **HOST)
  made = training.of(x)
  (pair,) = made.batches(0, 1)
  state, _ = made.step(x.state, pair)
  assert made.is_sound(state, pair)
  made.at_rest(state).ids[-1, -1, -1] = np.nan
  assert not made.is_sound(state, pair)


def held_by_devices(scale: int) -> int:
  """Bytes, more than before, after three steps on so many times the rows."""
  gc.collect()
  before = sum(array.nbytes for array in jax.live_arrays())
  features = tuple(
    dataclasses.replace(f, rows=f.rows * scale) for f in toy.dataset().features
  )
  data = dataclasses.replace(toy.dataset(), features=features)
  x = toy.build(data=data, **HOST)
  made, state = training.of(x), x.state
  for pair in made.batches(0, 3):
    state, _ = made.step(state, pair)
  assert made.at_rest(state).ids.size > 100 * scale
  gc.collect()
  return sum(array.nbytes for array in jax.live_arrays()) - before


def test_what_a_device_holds_does_not_grow_with_the_table():
  assert held_by_devices(100) == held_by_devices(1)


LENGTH = {
  "train__batch_size": 512,
  "checkpoint__every_steps": 2,
  "checkpoint__keep": 5,
}


def trained(folder, steps: int, tier: str):
  """Figures and last state of a run, or of what is left of it."""
  config = toy.values(**LENGTH, train__steps=steps, sparse_optimizer__tier=tier)
  figures = loop.train_and_evaluate(config, folder)
  return figures, restore.restore(folder).state


@pytest.mark.slow
def test_a_run_changes_its_tier_and_ends_with_the_same_bits(
  tmp_path, monkeypatch
):
  toy.small_runs(monkeypatch)
  expected = trained(tmp_path / "whole", 7, "device")
  stages = {2: "device", 3: "host", 5: "host", 7: "device"}
  for steps, tier in stages.items():
    found = trained(tmp_path / "parts", steps, tier)
    assert isinstance(found[1].ids, np.ndarray) == (tier == "host")
  assert found[0] == expected[0]
  pairs = zip(*map(jax.tree.leaves, (found[1], expected[1])), strict=True)
  assert all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("tier", ["device", "host"])
def test_training_goes_on_from_a_checkpoint_of_either_tier(tier, tmp_path):
  x = toy.build(**SPREAD, **HOST)
  before = toy.build(**SPREAD, sparse_optimizer__tier=tier)
  state, _ = toy.run(before, 5)
  with checkpoint.manager(tmp_path) as saved:
    checkpoint.save(saved, 5, state, {"step": 5})
  found, _ = checkpoint.restore(tmp_path, x.state, x.inputs)
  state, losses = run_on_host(x, found, 5)
  assert same_bits((state, losses), (on_device()[0], on_device()[1][5:]))


def test_rows_of_another_run_are_taken_over(tmp_path):
  x = toy.build()
  state = x.state._replace(ids=x.state.ids + 1)
  warm_up_test.save(tmp_path, x, state, 3)
  found = warm_up_test.start(tmp_path, toy.build(**HOST), "full")
  assert isinstance(found.ids, np.ndarray)
  assert np.array_equal(found.ids, state.ids)


def test_rows_that_will_be_restored_have_no_first_values(monkeypatch):
  monkeypatch.setattr(normal_blocks, "BLOCK_BYTES", 1)
  config = toy.values(**HOST)
  build = functools.partial(
    experiment.build, data=toy.dataset(), devices=jax.devices()[:1]
  )
  first, later = build(config).state, build(config, restored=True).state
  assert np.array_equal(first.ids, toy.build().state.ids)
  pairs = zip(*map(state_lib.rows_of, (first, later)), strict=True)
  for left, right in pairs:
    assert left.shape == right.shape
    assert left[1:].any(axis=(1, 2)).all() and not right[1:].any()


def test_several_processes_are_refused(monkeypatch):
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  message = r"^sparse_optimizer\.tier='host': expected one process.*found 2\."
  with pytest.raises(errors.InputError, match=message):
    toy.build(**HOST)


def test_the_ledger_is_of_tables_on_devices():
  message = r"^sparse_optimizer\.tier: .*; found 'host'$"
  with pytest.raises(errors.InputError, match=message):
    ledger_report.check(toy.values(**HOST))
