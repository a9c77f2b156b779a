"""Rows made block by block are those of a table made at once."""

import jax
import numpy as np
import pytest

from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import normal_blocks, table

WIDTH = 5


def made(num_rows):
  return list(
    normal_blocks.blocks(
      jax.random.key(3), num_rows, WIDTH, stddev=0.1, device=jax.devices()[1]
    )
  )


@pytest.mark.parametrize("bytes_at_most", [1, 5000, 1 << 30])
def test_blocks_are_the_whole_table_to_the_bit(monkeypatch, bytes_at_most):
  monkeypatch.setattr(normal_blocks, "BLOCK_BYTES", bytes_at_most)
  found = made(600)
  expected = table.init_normal(
    jax.random.key(3),
    600,
    WIDTH,
    stddev=0.1,
    mesh=mesh_lib.make_mesh(2, 4),
    spec=mesh_lib.BATCH,
  )
  whole = np.zeros(expected.shape, np.float32)
  for buckets, rows in found:
    assert len(rows) == 1 or rows.nbytes <= bytes_at_most
    assert rows.devices() == {jax.devices()[1]}
    whole[buckets] = rows
  assert np.array_equal(whole, expected)
  assert len(found) == {1: 256, 5000: 4, 1 << 30: 1}[bytes_at_most]


def test_more_numbers_than_32_bits_can_count():
  """A block that begins shortly before 2^32 goes on behind it."""
  key = normal_blocks._key_from(jax.random.key(3), 2**32 - 2)
  behind = normal_blocks._key_from(jax.random.key(3), 2**32)
  bits = jax.random.bits(key, (5,))
  assert np.array_equal(bits[2:], jax.random.bits(behind, (3,)))
  from_zero = jax.random.bits(normal_blocks._key_from(jax.random.key(3), 0))
  assert int(bits[2]) != int(from_zero)
