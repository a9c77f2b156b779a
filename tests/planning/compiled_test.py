"""What is planned is what XLA finds in the compiled step."""

import jax
import pytest

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
both = pytest.mark.parametrize("kind", ["default", "other"])


def near(expected: float, share: float = EXACT):
  return pytest.approx(expected, rel=share)


@both
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


@both
@everywhere
def test_activations_are_of_the_size_estimated(kind, mesh):
  made = plans.planned(kind, *mesh)
  held = memory.of_step(made.config, made.load, made.shapes)
  found = made.compiled.memory_analysis()
  assert found is not None
  # An estimate: what shares memory with what is up to XLA.
  assert 0.5 < held.activations / found.temp_size_in_bytes < 2


@both
@everywhere
def test_flops_are_as_planned_each_loop_once(kind, mesh):
  made = plans.planned(kind, *mesh)
  found = made.compiled.cost_analysis()
  planned = work.loops_once(made.config, made.load, made.shapes)
  assert found["flops"] == near(planned, SHARE)


@both
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
