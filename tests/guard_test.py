"""The guard finds a number out of bounds wherever it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dicm_jax import guard

SHAPES = [(), (1,), (7,), (300, 130), (0, 4)]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_one_bad_number_is_found_at_any_place(shape, bad):
  numbers = np.random.default_rng(0).normal(size=shape).astype(np.float32)
  tree = {"a": numbers, "step": np.int32(3), "none": None}
  is_finite = jax.jit(guard.is_finite)
  assert is_finite(tree)
  for place in sorted(
    {0, numbers.size // 2, numbers.size - 1} & {*range(numbers.size)}
  ):
    wrong = numbers.copy()
    wrong.flat[place] = bad
    assert not is_finite(tree | {"a": wrong})


def test_large_numbers_and_integers_are_finite():
  most = np.finfo(np.float32).max
  assert guard.is_finite([np.float32(-most), np.int32(2**31 - 1)])
  assert guard.is_finite(jnp.bfloat16(3e38))
  assert not guard.is_finite(jnp.bfloat16(jnp.inf))
