"""Numbers in a window: each row has one, its owner's, in the owner's order."""

import numpy as np
import pytest

from dicm_jax.data import id_window
from dicm_jax.sharding import table


@pytest.mark.parametrize("devices", [1, 2, 8, 64, 256])
@pytest.mark.parametrize("seed", range(3))
def test_numbers_keep_owner_and_order_and_are_unique(devices, seed):
  rng = np.random.default_rng(seed)
  most = int(rng.choice([300, 5_000, 2**31 - 1]))
  asked = [
    np.unique(rng.integers(0, most, rng.integers(1, 200)))
    for _ in range(devices)
  ]
  window = id_window.of(asked)
  assert window.rows.tolist() == sorted(set(np.concatenate(asked).tolist()))
  numbers = window.numbers
  assert len(np.unique(numbers)) == len(numbers)
  # And back.
  assert np.array_equal(window.by_number[numbers], window.rows)
  assert np.sum(window.by_number != id_window.EMPTY) == len(window.rows)
  owner = table.owner_of(window.rows, devices)
  assert np.array_equal(table.owner_of(numbers, devices), owner)
  for one in np.unique(owner):
    assert np.all(np.diff(numbers[owner == one]) > 0)
  for rows in asked:
    assert np.array_equal(window.by_number[window.number_of(rows)], rows)


def test_a_window_is_as_large_as_the_largest_share():
  shares = [np.array([0, 4, 8]), np.array([1])]
  assert len(id_window.of(shares).by_number) == 2 * 3
  assert len(id_window.of([np.array([5, 9, 100])]).by_number) == 3
