"""The exchange gives every device its rows, however they are spread."""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
import numpy as np
import pytest

from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import route, table

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


def _route(axes, mesh, capacity):
  owners = int(np.prod([mesh.shape[a] for a in axes]))
  return route.Route(
    name="t", axes=axes, owners=owners, capacity=capacity, spill=2
  )


def _trip(mesh, axes, capacity):
  """Compiles: send rows there, values back, ones as gradients there again."""
  way = _route(axes, mesh, capacity)
  values = np.arange(NUM_ROWS, dtype=np.float32)[:, None] + 1
  spec = P(axes)
  shards = mesh_lib.put(mesh, spec, table.to_buckets(values))

  def on_device(shard, mine):
    mine = mine[0]
    asked = route.ask(way, mine, shard_rows=shard.shape[0] * shard.shape[1])
    vectors = table.read(shard, asked.rows)
    got = route.deliver(way, asked, vectors, mine.size)
    ones = jnp.where(mine == route.EMPTY, 0.0, 1.0)[:, None]
    counts = route.collect(way, asked, ones)
    counted = table.write(jnp.zeros_like(shard), asked.rows, counts)
    return got[None], counted, asked.rounds[None], asked.num_rows[None]

  mapped = jax.shard_map(
    on_device,
    mesh=mesh,
    in_specs=(spec, mesh_lib.BATCH),
    out_specs=(mesh_lib.BATCH, spec, mesh_lib.BATCH, mesh_lib.BATCH),
    check_vma=False,
  )
  return functools.partial(jax.jit(mapped), shards)


@pytest.mark.parametrize("shape", MESHES)
@pytest.mark.parametrize("capacity", [1, 3, 64])
def test_every_row_comes_and_every_gradient_is_summed(shape, capacity):
  mesh = mesh_lib.make_mesh(*shape, jax.devices()[: np.prod(shape)])
  trip = _trip(mesh, mesh_lib.BOTH, capacity)
  for kind in KINDS:
    rows = _requests(kind, mesh.size)
    got, counted, rounds, served = trip(rows)
    there = rows != route.EMPTY
    values = np.asarray(got)[..., 0][there]
    np.testing.assert_array_equal(values, rows[there] + 1, kind)
    expected = np.bincount(rows[there], minlength=NUM_ROWS)
    counts = table.from_buckets(np.asarray(counted), NUM_ROWS)[:, 0]
    np.testing.assert_array_equal(counts, expected, kind)
    # Rows asked for by several devices are served once.
    assert served.sum() == len(np.unique(rows[there])), kind
    if mesh.size > 1:
      over = max(route.largest_group(rows, mesh.size) - capacity, 0)
      most = 1 + -(-over // 2)
      assert rounds.tolist() == [most] * mesh.size, kind


def test_content_routes_stay_within_a_worker():
  """Rows over `server` only: each worker's copy answers its own devices."""
  mesh = mesh_lib.make_mesh(2, 4)
  rows = _requests("random", 8)
  got, _, _, served = _trip(mesh, (mesh_lib.SERVER,), 3)(rows)
  there = rows != route.EMPTY
  np.testing.assert_array_equal(np.asarray(got)[..., 0][there], rows[there] + 1)
  halves = np.asarray(served).reshape(2, 4).sum(axis=1)
  for worker in range(2):
    part = rows[4 * worker : 4 * worker + 4]
    assert halves[worker] == len(np.unique(part[part != route.EMPTY]))


def test_largest_group_counts_rows_of_one_owner():
  rows = np.array([[0, 2, 4, 255, -1], [1, 3, -1, -1, -1]], np.int32)
  assert route.largest_group(rows, 2) == 3
  assert route.largest_group(rows, 1) == 4
