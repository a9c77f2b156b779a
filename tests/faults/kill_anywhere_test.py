"""A run killed at any moment ends with the bits of one left alone."""

import pytest

from tests.faults import kill_anywhere


@pytest.mark.slow
def test_run_killed_anywhere_ends_with_the_bits_of_one_left_alone(tmp_path):
  found = kill_anywhere.measure(tmp_path, kills=6, steps=20, seed=3)
  assert sum(found["kills"].values()) == 6
  assert found["kills"]["evaluation"] >= 1
  assert found["arrays_identical"] > 30
