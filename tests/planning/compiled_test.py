"""What is planned is what XLA finds in the compiled step."""

import jax
import pytest

from dicm_jax import state as state_lib
from dicm_jax.planning import memory, traffic, work
from dicm_jax.sharding import ledger
from tests.planning import plans

pytestmark = pytest.mark.slow

MESHES = [(1, 1), (1, 2), (2, 2), (1, 8)]
SHARE = 0.15
"""How far the work may be off: fusions compute some things twice."""
EXACT = 0.002
"""Exact but for a few scalars, and arguments that a net does not look at."""

everywhere = pytest.mark.parametrize("mesh", MESHES, ids=str)
all_kinds = pytest.mark.parametrize("kind", plans.KINDS)


def near(expected: float, share: float = EXACT):
  return pytest.approx(expected, rel=share)


@all_kinds
@everywhere
def test_arguments_and_outputs_of_a_device_are_as_planned(kind, mesh):
  made = plans.planned(kind, *mesh)
  held = memory.of_step(made.config, made.load, made.shapes)
  found = made.compiled.memory_analysis()
  assert found is not None
  assert found.argument_size_in_bytes == near(held.arguments)
  # The new state takes the old one's place.
  frozen = held.parts["batch"] + held.parts["image table"]
  assert found.output_size_in_bytes == near(held.arguments - frozen)


@all_kinds
@everywhere
def test_activations_are_of_the_size_estimated(kind, mesh):
  made = plans.planned(kind, *mesh)
  held = memory.of_step(made.config, made.load, made.shapes)
  found = made.compiled.memory_analysis()
  assert found is not None
  # An estimate: what shares memory with what is up to XLA.
  assert 0.7 < held.activations / found.temp_size_in_bytes < 1.2


@all_kinds
@everywhere
def test_flops_are_as_planned_each_loop_once(kind, mesh):
  made = plans.planned(kind, *mesh)
  found = made.compiled.cost_analysis()
  planned = work.loops_once(made.config, made.load, made.shapes)
  assert found["flops"] == near(planned, SHARE)


@all_kinds
@everywhere
def test_each_collective_sends_what_was_planned(kind, mesh):
  made = plans.planned(kind, *mesh)
  planned = traffic.of_step(made.config, made.load, made.shapes)
  found = ledger.collectives(
    made.compiled.as_text() or "", num_devices=made.load.devices
  )
  in_line = [part for part in found if not part.in_loop]
  for sent in planned:
    if sent.name != "loss":  # XLA joins it with others.
      size = ledger.wire_bytes(in_line, sent.name)
      assert size == near(sent.wire_bytes), sent.name
  all_of_it = sum(part.wire_bytes for part in in_line)
  assert all_of_it == near(traffic.total(planned))


def test_the_true_arguments_have_the_planned_shapes():
  x = plans.other_experiment(2, 2)
  planned = plans.planned("other", 2, 2).shapes

  def shapes_in(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)

  assert shapes_in(planned.state) == shapes_in(x.state)
  assert shapes_in(planned.content) == shapes_in(x.content)
  assert shapes_in(planned.batch) == shapes_in(next(x.batches(0, 1)))


def test_the_devices_see_as_many_rows_of_the_hosts_tables_as_planned():
  x = plans.host_experiment(2, 2)
  made = plans.planned("host", 2, 2)
  state, batch = next(x.with_rows(x.state, x.batches(0, 1)))
  rows = map(jax.typeof, state_lib.rows_of(state))
  planned = state_lib.rows_of(made.shapes.state)
  assert [(r.shape, r.dtype) for r in rows] == [
    (p.shape, p.dtype) for p in planned
  ]
  assert batch.content.shape == made.shapes.content.table.shape

  held = memory.of_step(made.config, made.load, made.shapes)
  brought = memory.brought_up(made.config, made.load, made.shapes)
  assert brought["image table"] == held.parts["image table"]
  assert brought["ID table and slots"] == (
    held.parts["ID table"] + held.parts["ID optimiser slots"]
  )
  assert held.ahead == held.parts["batch"] + sum(brought.values())
  all_rows = sum(r.nbytes for r in state_lib.rows_of(x.state))
  assert held.host["ID table and slots"] == all_rows
  assert held.host["image table"] == x.held.everything().nbytes
