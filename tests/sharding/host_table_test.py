"""Windows of tables on the host read what tables hold, and write it back."""

import jax.numpy as jnp
import numpy as np
import pytest

from dicm_jax.sharding import host_table, table

NUM_ROWS = 1000
EMPTY = table.EMPTY


def held():
  rows = np.arange(3 * NUM_ROWS, dtype=np.float32).reshape(NUM_ROWS, 3)
  counts = np.arange(NUM_ROWS, dtype=np.int32)[:, None]
  made = [table.to_buckets(rows), table.to_buckets(counts)]
  return host_table.HostTable(made)


def wanted(seed=0):
  """600 numbers, most with a row."""
  rows = np.random.default_rng(seed).permutation(NUM_ROWS)[:600]
  rows[[3, 77, 599]] = EMPTY
  return rows


def test_a_step_finds_rows_by_their_numbers():
  rows, tables = wanted(), held()
  numbers = np.flatnonzero(rows != EMPTY)
  for window, whole in zip(tables.read(rows), tables.arrays, strict=True):
    assert window.shape == (256, 3, *whole.shape[2:])
    assert window.dtype == whole.dtype
    found = table.read(jnp.asarray(window), jnp.asarray(numbers))
    expected = table.from_buckets(whole, NUM_ROWS)[rows[numbers]]
    np.testing.assert_array_equal(found, expected)


def test_rows_are_written_where_they_were_read():
  rows, tables = wanted(), held()
  before = [a.copy() for a in tables.arrays]
  tables.write(rows, tables.read(rows))
  for found, expected in zip(tables.arrays, before, strict=True):
    np.testing.assert_array_equal(found, expected)
  tables.write(rows, [window + 1 for window in tables.read(rows)])
  touched = np.isin(np.arange(NUM_ROWS), rows)
  for found, expected in zip(tables.arrays, before, strict=True):
    moved = table.from_buckets(found - expected, NUM_ROWS)
    assert np.all(moved[touched] == 1) and np.all(moved[~touched] == 0)
    assert (found != expected).sum() == touched.sum() * found.shape[-1]


@pytest.mark.parametrize("array", [0, 1])
def test_any_number_that_is_none_is_found(array):
  rows = held().arrays[0].copy()
  tables = host_table.HostTable([rows, rows.copy()])
  assert tables.is_finite()
  tables.arrays[array][200, 1, 2] = np.nan
  assert not tables.is_finite()


def test_numbers_in_another_window():
  before, rows = wanted(1), wanted(2)
  found = table.from_buckets(host_table.numbers_in(before, rows), len(rows))
  there = {int(r): n for n, r in enumerate(before) if r != EMPTY}
  assert found.tolist() == [there.get(int(r), EMPTY) for r in rows]
  assert EMPTY in found and found.max() > 0
