"""Workloads of numbers agree with those of the data they describe."""

import numpy as np
import pytest

from dicm_jax.hardware import HARDWARE
from dicm_jax.planning import encoder, forecast, shapes, workload
from tests import toy


def stated_as_the_toy(config, slices, devices):
  """The toy data's step in numbers."""
  steps = len(slices) // devices

  def in_a_step(size):
    return round(sum(size(piece.sizes) for piece in slices) / steps)

  return workload.Stated(
    id_rows=1000,
    images=toy.NUM_IMAGES,
    page_views=in_a_step(lambda s: s["groups"]),
    behaviours=in_a_step(lambda s: s["behaviours"]),
    user_ids=in_a_step(lambda s: s["ids.user_id"] + s["ids.liked"]),
    ad_fields=2,
    user_fields=2,
    distinct_ids=in_a_step(lambda s: s["id_rows"]),
    distinct_images=in_a_step(lambda s: s["image_rows"]),
  )


def test_numbers_give_nearly_the_room_that_their_data_take():
  config, data = toy.values(train__batch_size=2048), toy.dataset()
  slices = workload.probe(config, data, 2)
  found = workload.measured(config, data, slices, 1, 2)
  numbers = stated_as_the_toy(config, slices, 2)
  made = workload.stated(config, numbers, 1, 2)
  for name in ("id_rows", "image_rows", "groups", "behaviours", "image_pairs"):
    # A rung of the ladder up or down is a quarter.
    assert made.room[name] == pytest.approx(found.room[name], rel=0.26), name
  assert made.distinct_ids == pytest.approx(found.distinct_ids, abs=1)


def test_largest_of_many_counts_is_as_simulated():
  rng = np.random.default_rng(0)
  drawn = rng.poisson(400.0, (200, 1000)).max(axis=1).mean()
  # sqrt(2 ln t) is a little above the mean of the maximum: here 475 to 467.
  found = workload.largest_of(400.0, trials=1000)
  assert drawn < found < 1.04 * drawn


def test_tables_shrink_with_servers_and_ids_with_all_devices():
  config = toy.values()
  numbers = workload.Stated(
    id_rows=10**9,
    images=10**8,
    page_views=32,
    behaviours=320,
    user_ids=640,
    ad_fields=3,
    user_fields=2,
    distinct_ids=2000,
    distinct_images=600,
  )
  made = encoder.of_config(config)

  def held(worker, server):
    load = workload.stated(config, numbers, worker, server)
    plan = forecast.make(config, load, made, HARDWARE["h100"])
    return plan.memory.parts

  one, eight = held(1, 1), held(2, 4)
  for part, share in {"ID table": 8, "image table": 4}.items():
    assert eight[part] * share == one[part]
  assert one["image table"] >= 10**8 * 512 * 4


def test_an_exchange_that_leaves_the_island_waits_for_the_network():
  h100 = HARDWARE["h100"]
  sent = forecast.Sent(
    name="ids.rows",
    kind="all-to-all",
    group=8,
    wire_bytes=1e9,
    bound_bytes=1e9,
  )
  near = forecast.travel_s(sent, h100)
  assert near == pytest.approx(h100.latency_s + 1 / 225)
  further = forecast.Sent(**(vars(sent) | {"group": 16}))
  expected = h100.latency_s + 8 / 15 / 25
  assert forecast.travel_s(further, h100) == pytest.approx(expected)


def test_shapes_hold_billions_of_rows_and_no_memory():
  config = toy.values()
  load = workload.stated(
    config,
    workload.Stated(
      id_rows=2 * 10**9,
      images=10**9,
      page_views=8,
      behaviours=8,
      user_ids=8,
      ad_fields=1,
      user_fields=1,
      distinct_ids=64,
      distinct_images=64,
    ),
    1,
    16,
  )
  made = shapes.of_step(config, load, encoder.of_config(config))
  assert made.state.ids.size >= 2 * 10**9 * 12
