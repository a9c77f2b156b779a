"""The exchange gives every device its rows, however they are spread."""

import dataclasses
import functools
import math
import re

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
import numpy as np
import pytest

from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import route, table
from tests.sharding import ragged

NUM_ROWS = 1024
MESHES = [(1, 1), (1, 2), (1, 8), (2, 4), (4, 2), (8, 1)]
KINDS = ["random", "one owner", "one row", "some owners idle", "nothing"]
ROOM = 40  # Rows that a device may ask for.


def _requests(kind: str, devices: int) -> np.ndarray:
  """Distinct rows of each device, EMPTY-padded."""
  rng = np.random.default_rng(0)
  rows = np.full((devices, ROOM), route.EMPTY, np.int32)
  for k in range(devices):
    if kind == "random":
      wanted = rng.choice(NUM_ROWS, rng.integers(0, ROOM + 1), replace=False)
    elif kind == "one owner":  # All in bucket 0.
      wanted = np.arange(4) * 256
    elif kind == "one row":
      wanted = np.array([17])
    elif kind == "some owners idle":
      wanted = np.arange(ROOM)[:: max(devices // 2, 1)]
    else:
      wanted = np.array([], int)
    rows[k, : len(wanted)] = np.sort(wanted)
  return rows


def _route(axes, mesh, capacity, *, ragged=False):
  owners = int(np.prod([mesh.shape[a] for a in axes]))
  return route.Route(
    name="t",
    axes=axes,
    owners=owners,
    capacity=capacity,
    spill=2,
    ragged=ragged,
  )


def _trip(mesh, way, seen=None):
  """Compiles: send rows there, values back, ones as gradients there again.

  Args:
    mesh: the mesh.
    way: the route.
    seen: where to note the room of each round that is compiled.
  """
  values = np.arange(NUM_ROWS, dtype=np.float32)[:, None] + 1
  spec = P(way.axes)
  shards = mesh_lib.put(mesh, spec, table.to_buckets(values))

  def on_device(shard, mine):
    mine = mine[0]

    def answer(asked):
      if seen is not None:
        seen.append(asked.rows.size)
      return table.read(shard, asked.rows)

    def accept(carry, asked, counts):
      counted, visits, served, rounds = carry
      before = table.read(counted, asked.rows)
      counted = table.write(counted, asked.rows, before + counts)
      visited = table.read(visits, asked.rows) + 1
      visits = table.write(visits, asked.rows, visited)
      return counted, visits, served + asked.num_rows, rounds + 1

    first = route.ask(way, mine)
    got = route.deliver(way, first, answer)
    ones = jnp.where(mine == route.EMPTY, 0.0, 1.0)[:, None]
    zeros = jnp.zeros_like(shard)
    counted, visits, served, rounds = route.collect(
      way, first, ones, accept, (zeros, zeros, jnp.int32(0), jnp.int32(0))
    )
    return got[None], counted, visits, served[None], rounds[None]

  mapped = jax.shard_map(
    on_device,
    mesh=mesh,
    in_specs=(spec, mesh_lib.BATCH),
    out_specs=(mesh_lib.BATCH, spec, spec, mesh_lib.BATCH, mesh_lib.BATCH),
    check_vma=False,
  )
  return functools.partial(jax.jit(mapped), shards)


@pytest.mark.parametrize("shape", MESHES)
@pytest.mark.parametrize("capacity", [1, 3, 64])
def test_every_row_comes_and_every_gradient_is_summed(shape, capacity):
  mesh = mesh_lib.make_mesh(*shape, jax.devices()[: np.prod(shape)])
  _check_trips(mesh, _route(mesh_lib.BOTH, mesh, capacity))


@pytest.mark.parametrize("shape", [(1, 2), (2, 4)])
@pytest.mark.parametrize("capacity", [3, 64])
def test_so_they_do_where_only_rows_travel(shape, capacity, monkeypatch):
  monkeypatch.setattr(jax.lax, "ragged_all_to_all", ragged.all_to_all)
  mesh = mesh_lib.make_mesh(*shape, jax.devices()[: np.prod(shape)])
  _check_trips(mesh, _route(mesh_lib.BOTH, mesh, capacity, ragged=True))


def test_a_ragged_content_route_stays_within_a_worker(monkeypatch):
  monkeypatch.setattr(jax.lax, "ragged_all_to_all", ragged.all_to_all)
  mesh = mesh_lib.make_mesh(2, 4)
  rows = _requests("random", 8)
  way = _route((mesh_lib.SERVER,), mesh, 3, ragged=True)
  got = _trip(mesh, way)(rows)[0]
  there = rows != route.EMPTY
  np.testing.assert_array_equal(np.asarray(got)[..., 0][there], rows[there] + 1)


def _check_trips(mesh, way):
  trip = _trip(mesh, way)
  for kind in KINDS:
    rows = _requests(kind, mesh.size)
    got, counted, visits, served, rounds = trip(rows)
    there = rows != route.EMPTY
    values = np.asarray(got)[..., 0][there]
    np.testing.assert_array_equal(values, rows[there] + 1, kind)
    expected = np.bincount(rows[there], minlength=NUM_ROWS)
    counts = table.from_buckets(np.asarray(counted), NUM_ROWS)[:, 0]
    np.testing.assert_array_equal(counts, expected, kind)
    # Rows asked for by several devices are served once, in one round.
    once = table.from_buckets(np.asarray(visits), NUM_ROWS)[:, 0]
    np.testing.assert_array_equal(once, expected > 0, kind)
    assert served.sum() == len(np.unique(rows[there])), kind
    assert rounds.tolist() == [route.rounds(way, rows)] * mesh.size, kind


def test_rounds_are_few_where_workers_ask_alike():
  """Half again as much as a round's room: four rounds of an eighth."""
  rng = np.random.default_rng(0)
  rows = np.array([np.sort(rng.choice(9000, 800, False)) for _ in range(8)])
  most = max(route.largest_group(row, 8) for row in rows)
  way = route.Route(name="t", axes=(), owners=8, capacity=most, spill=20)
  assert route.rounds(way, rows) == 1
  fewer = dataclasses.replace(way, capacity=most - 40)
  assert 3 <= route.rounds(fewer, rows) <= 4
  alone = dataclasses.replace(way, owners=1, capacity=1, spill=1)
  assert route.rounds(alone, rows) == 1


def test_workers_stop_at_the_smallest_row_without_a_place():
  rows = np.array([[0, 2, 4, 6], [2, 4, 6, 8]], np.int32)  # All of owner 0.
  way = route.Route(name="t", axes=(), owners=2, capacity=3, spill=1)
  # 0 2 4 and 2 4, then 6 and 6, then 8.
  assert route.rounds(way, rows) == 3


def test_owners_have_room_for_a_round_not_for_the_worst_case():
  mesh = mesh_lib.make_mesh(1, 8)
  way = dataclasses.replace(_route(mesh_lib.BOTH, mesh, 6), spill=3)
  seen = []
  trip = _trip(mesh, way, seen)
  rows = np.tile(np.arange(500, dtype=np.int32), (8, 1))
  text = jax.jit(trip).lower(rows).compile().as_text() or ""
  assert seen == [8 * 6, 8 * 3]
  arrays = re.findall(r"\b[a-z]+\d+\[([\d,]+)\]", text)
  largest = max(math.prod(map(int, dims.split(","))) for dims in arrays)
  # The worst case is 8 workers x 500 rows.
  assert largest < 8 * 500 / 2


def test_content_routes_stay_within_a_worker():
  """Rows over `server` only: each worker's copy answers its own devices."""
  mesh = mesh_lib.make_mesh(2, 4)
  rows = _requests("random", 8)
  way = _route((mesh_lib.SERVER,), mesh, 3)
  got, _, _, served, _ = _trip(mesh, way)(rows)
  there = rows != route.EMPTY
  np.testing.assert_array_equal(np.asarray(got)[..., 0][there], rows[there] + 1)
  halves = np.asarray(served).reshape(2, 4).sum(axis=1)
  for worker in range(2):
    part = rows[4 * worker : 4 * worker + 4]
    assert halves[worker] == len(np.unique(part[part != route.EMPTY]))


def test_largest_group_counts_rows_of_one_owner():
  rows = np.array([0, 2, 4, 255, -1], np.int32)
  assert route.largest_group(rows, 2) == 3
  assert route.largest_group(rows, 1) == 4
  assert route.largest_group(rows[:0], 2) == 0
