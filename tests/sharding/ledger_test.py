"""The ledger reads the program's own traffic, and the traffic is small."""

import jax
import numpy as np
import pytest

from dicm_jax import ledger_report
from dicm_jax.sharding import ledger, route
from tests import toy

HLO = """
  %a2a = (s32[1,12]{1,0}, s32[1,12]{1,0}, /*index=2*/s32[1,12]{1,0}, \
s32[1,12]{1,0}) all-to-all(%f.1, %f.2, %f.3, %f.4), channel_id=1, \
replica_groups={{0,1,2,3},{4,5,6,7}}, metadata={op_name="jit(s)/images.rows/x"}
  %gte = s32[1,12]{1,0} get-tuple-element(%a2a), index=0
  %a2a.1 = f32[4,3,12]{2,1,0} all-to-all(%g), channel_id=2, \
replica_groups=[2,4]<=[8], metadata={op_name="jit(s)/while/body/images.vectors"}
  %ar = (f32[16]{0}, bf16[8,16]{1,0}) all-reduce-start(%h, %i), channel_id=3, \
replica_groups={}, to_apply=%sum, metadata={op_name="jit(s)/dense.gradients/p"}
  %ar.1 = (f32[16]{0}, bf16[8,16]{1,0}) all-reduce-done(%ar)
  %ag = pred[8]{0} all-gather(%j), replica_groups={{0,1,2,3,4,5,6,7}}
"""


def test_sizes_groups_and_loops_are_read_from_the_text():
  found = ledger.collectives(HLO, num_devices=8)
  kinds = [c.kind for c in found]
  assert kinds == ["all-to-all", "all-to-all", "all-reduce", "all-gather"]
  assert [c.result_bytes for c in found] == [192, 576, 320, 8]
  assert [c.group_size for c in found] == [4, 4, 8, 8]
  assert [c.in_loop for c in found] == [False, True, False, False]


def test_wire_bytes_leave_out_what_a_device_keeps():
  found = ledger.collectives(HLO, num_devices=8)
  assert ledger.wire_bytes(found, "images.rows") == 192 * 3 / 4
  assert ledger.wire_bytes(found, "images.vectors") == 0  # One round: no loop.
  assert ledger.wire_bytes(found, "images.vectors", rounds=3) == 2 * 432
  assert ledger.wire_bytes(found, "dense.gradients") == 2 * 320 * 7 / 8
  assert ledger.wire_bytes(found, "") == 144 + 560 + 7


def test_parts_add_up_to_all_traffic_of_the_compiled_step():
  made = ledger_report.measure(toy.build(2, 4))
  floats = toy.values().model.image_widths[-1] * 4
  way = toy.build(2, 4).program.image_route
  # One round: a vector and a gradient in each place, three of four sent.
  expected = 2 * 4 * way.capacity * floats * 3 / 4
  assert made.image_rounds == 1
  assert made.wire["image vectors"] == expected
  # Row numbers, and the limits of eight owners of ids and four of images, which
  # XLA joins into one all-reduce.
  rows = 4 * way.capacity * 4 * 3 / 4 + 2 * (8 + 4) * 4 * 7 / 8
  assert made.image_wire == expected + rows
  assert made.image_wire >= made.image_bound > 0
  assert all(size >= 0 for size in made.wire.values())


def test_strategies_are_compared_on_equal_terms():
  x = toy.build(2, 4)
  made = ledger_report.measure(x)
  batch = jax.tree.map(np.asarray, next(x.batches(0, 1)))
  everything, vectors = sum(made.wire.values()), made.wire["image vectors"]
  image_rows = made.image_wire - vectors
  asked = (batch.image_rows != route.EMPTY).sum()
  ids_and_dense = 8 * (everything - vectors - image_rows)
  assert made.moved_in_all == {
    "PS-worker": pytest.approx(ids_and_dense),
    # A quarter of the features lies where it is asked for.
    "PS-server": pytest.approx(
      ids_and_dense + 8 * image_rows + asked * x.feature_width * 4 * 3 / 4
    ),
    "AMS": pytest.approx(8 * everything),
  }


def test_one_device_sends_nothing():
  made = ledger_report.measure(toy.build(1, 1))
  assert sum(made.wire.values()) == 0
  assert set(made.moved_in_all.values()) == {0}
  assert made.image_bound == 0


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_tables_shrink_with_the_number_of_devices(devices):
  x = toy.build(1, devices)
  held = ledger_report.table_bytes(x)
  whole = ledger_report.table_bytes(toy.build(1, 1))
  assert {k: n * devices for k, n in held.items()} == whole


@pytest.mark.slow
def test_default_batch_comes_near_the_lower_bound_on_eight_servers():
  made = ledger_report.measure(toy.default_experiment(1, 8))
  assert made.image_wire <= 1.25 * made.image_bound
