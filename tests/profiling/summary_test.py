"""Shares of the wall clock, from traces made by hand."""

import pytest

from dicm_jax.profiling import summary
from dicm_jax.profiling.trace import Op, Trace

MS = 1e6  # Nanoseconds.


def program(*parts):
  """HLO text with an instruction of each part: op.0, op.1, ..."""
  lines = [
    f'  %op.{i} = f32[] add(), metadata={{op_name="jit(step)/{part}/add"}}'
    for i, part in enumerate(parts)
  ]
  return "\n".join(["HloModule jit_step", "ENTRY %main () -> f32[] {", *lines])


def made(
  work, *, busy, waits=(), copies=(), wall=20, programs, steps=range(10, 12)
):
  found = Trace(
    {
      Op(name, module, number): ms * MS
      for (name, module, number), ms in work.items()
    },
    [(start * MS, end * MS) for start, end in busy],
    [(start * MS, end * MS) for start, end in copies],
    {
      summary.WINDOW: [(0.0, wall * MS)],
      summary.NEXT_BATCH: [(start * MS, end * MS) for start, end in waits],
    },
  )
  return summary.make(found, programs, steps=steps, input_thread=None)


def test_work_side_by_side_shares_the_time_in_which_devices_work():
  found = made(
    {("op.0", "jit_step", "1"): 24, ("op.1", "jit_step", "1"): 6},
    busy=[(0, 15)],
    waits=[(10, 17)],  # Of 7 ms all but 2 are hidden.
    copies=[(12, 18)],  # So is what a device got, but for a third one.
    programs=[program("ctr_net", "routing")],
  )
  assert found.shares == pytest.approx(
    {
      "input": 3 / 20,
      "routing": 15 / 20 * 6 / 30,
      "ctr_net": 15 / 20 * 24 / 30,
      "unattributed": 0,
      "idle": 2 / 20,
    }
  )
  assert (found.first_step, found.steps) == (11, 2)
  assert found.ms_per_step == 10
  assert found.work_ms_per_step == 15
  assert found.input_ms_per_step == 3.5


def test_what_no_part_of_the_step_claims_is_unattributed():
  found = made(
    {
      ("op.0", "jit_step", "1"): 10,
      ("op.0", "jit_check", "2"): 6,
      ("graph kernel", "", ""): 4,
    },
    busy=[(0, 20)],
    programs=[program("layers")],
  )
  assert found.shares["layers"] == pytest.approx(0.5)
  assert found.shares["unattributed"] == pytest.approx(0.5)
  assert list(found.largest_unattributed) == ["op.0", "graph kernel"]
  assert any("CUDA graphs" in line for line in found.lines())


def test_each_shape_of_batch_is_read_by_its_own_program():
  small = program("layers", "ctr_net")
  large = program("ctr_net", "layers", "routing")
  found = made(
    {
      ("op.0", "jit_step", "1"): 4,
      ("op.1", "jit_step", "1"): 1,
      ("op.2", "jit_step", "1"): 1,
      ("op.0", "jit_step", "2"): 2,
      ("op.1", "jit_step", "2"): 8,
    },
    busy=[(0, 16)],
    wall=16,
    programs=[small, large],
  )
  assert found.shares["routing"] == pytest.approx(1 / 16)
  # Where both fit it is the first of them.
  assert found.shares["layers"] == pytest.approx((1 + 2) / 16)
  assert found.shares["ctr_net"] == pytest.approx((4 + 8) / 16)


def test_a_trace_without_instructions_is_all_waiting():
  found = made({}, busy=[], waits=[(0, 5)], programs=[program("layers")])
  assert found.shares == pytest.approx(
    {"input": 0.25, "unattributed": 0, "idle": 0.75}
  )
