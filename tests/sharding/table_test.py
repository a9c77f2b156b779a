"""Rows lie in buckets, and a shard finds its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dicm_jax import errors
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import table


@pytest.mark.parametrize("num_rows", [1, 255, 256, 257, 1000])
def test_buckets_hold_every_row_once(num_rows):
  rows = np.arange(num_rows * 3, dtype=np.float32).reshape(num_rows, 3)
  placed = table.to_buckets(rows)
  assert placed.shape == (256, -(-num_rows // 256), 3)
  r = num_rows - 1
  bucket = int(f"{r % 256:08b}"[::-1], 2)
  np.testing.assert_array_equal(placed[bucket, r // 256], rows[r])
  np.testing.assert_array_equal(table.from_buckets(placed, num_rows), rows)


@pytest.mark.parametrize("owners", [1, 2, 8, 64])
def test_shard_reads_and_writes_the_rows_it_owns(owners):
  rows = np.arange(1000, dtype=np.float32)[:, None]
  shards = np.split(table.to_buckets(rows), owners)
  owner = table.owner_of(np.arange(1000), owners)
  for k, shard in enumerate(shards):
    mine = jnp.asarray(np.flatnonzero(owner == k)[:5], jnp.int32)
    read = table.read(jnp.asarray(shard), mine)
    np.testing.assert_array_equal(read[:, 0], mine)
    written = table.write(jnp.asarray(shard), mine, read + 0.5)
    np.testing.assert_array_equal(table.read(written, mine), read + 0.5)
    assert (np.asarray(written) != shard).sum() == len(mine)


def test_empty_rows_read_as_zeros_and_write_nothing():
  shard = jnp.ones((256, 2, 3))
  rows = jnp.array([table.EMPTY, 7, table.EMPTY], jnp.int32)
  assert table.read(shard, rows).tolist() == [[0] * 3, [1] * 3, [0] * 3]
  written = table.write(shard, rows, jnp.full((3, 3), 9.0))
  assert (np.asarray(written) == 9).sum() == 3
  assert (np.asarray(written)[0b11100000, 0] == 9).all()


@pytest.mark.parametrize("owners", [2, 8, 64])
def test_neighbouring_rows_lie_on_different_owners(owners):
  for start in (0, 32, 1000 - 1000 % owners):
    rows = np.arange(start, start + owners)
    assert len(np.unique(table.owner_of(rows, owners))) == owners


@pytest.mark.parametrize("owners", [3, 6, 512])
def test_owners_that_cannot_share_the_buckets_are_refused(owners):
  with pytest.raises(errors.InputError, match=f"{owners} devices"):
    table.check_owners(owners)


def test_initial_rows_do_not_depend_on_the_mesh():
  def rows(worker, server):
    mesh = mesh_lib.make_mesh(worker, server, jax.devices()[: worker * server])
    return table.init_normal(
      jax.random.key(3), 600, 4, stddev=0.1, mesh=mesh, spec=mesh_lib.BATCH
    )

  one, eight = rows(1, 1), rows(2, 4)
  np.testing.assert_array_equal(one, eight)
  assert eight.addressable_shards[0].data.shape == (32, 3, 4)
  # 256 * 3 * 4 draws: the standard error of their spread is about 1.3 %.
  assert np.asarray(one).std() == pytest.approx(0.1, rel=0.05)
