"""Stored features stay within the error that is stated."""

import numpy as np
import pytest

from dicm_jax import errors
from dicm_jax.data import quantise

RNG = np.random.default_rng(0)
FEATURES = np.concatenate(
  [
    RNG.standard_normal((50, 64)) * 10.0 ** RNG.integers(-3, 4, (50, 1)),
    np.zeros((1, 64)),
    np.eye(1, 64) * 60_000,  # One huge number among zeros.
    RNG.standard_normal((3, 64)) * 1e-7,
  ]
).astype(np.float32)


def error(dtype):
  packed = quantise.pack(FEATURES, dtype)
  assert packed.values.dtype == np.dtype(dtype)
  return np.abs(quantise.unpack(packed) - FEATURES)


def test_float32_is_exact():
  assert error("float32").max() == 0


def test_float16_keeps_eleven_bits():
  assert np.all(error("float16") <= np.maximum(abs(FEATURES) / 2**11, 2**-25))
  with pytest.raises(errors.InputError, match=r"row 1, number 2: .* 70000"):
    quantise.pack(np.array([[0, 0, 0], [0, 0, 7e4]], np.float32), "float16")


def test_int8_is_within_half_a_step_of_its_row():
  largest = abs(FEATURES).max(axis=1, keepdims=True)
  assert np.all(error("int8") <= largest / 254 * (1 + 1e-5))
