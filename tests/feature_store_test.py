"""The cache of features finds every picture, in little memory."""

import hashlib

import numpy as np
import pytest

from dicm_jax import feature_store


def keys(first: int, count: int) -> list[bytes]:
  numbers = range(first, first + count)
  return [hashlib.sha256(str(i).encode()).digest() for i in numbers]


def vectors(first: int, count: int) -> np.ndarray:
  return np.arange(first, first + count, dtype=np.float32)[:, None] * [1, 2, 3]


@pytest.mark.parametrize("kept_apart", [0, 10, 1000])
def test_what_was_added_is_found_now_and_later(
  tmp_path, monkeypatch, kept_apart
):
  monkeypatch.setattr(feature_store, "_ADDED", kept_apart)
  store = feature_store.Store(tmp_path, 3)
  for first in range(0, 60, 6):
    store.add(keys(first, 6), vectors(first, 6).astype(np.float32))
  for opened in (store, feature_store.Store(tmp_path, 3)):
    out = np.zeros((70, 3), np.float32)
    found = opened.read(keys(0, 70), out)
    assert found.tolist() == [True] * 60 + [False] * 10
    np.testing.assert_array_equal(out[:60], vectors(0, 60))


def test_keys_that_end_with_zeros_are_told_apart(tmp_path):
  zeros = [bytes(32), bytes(31) + b"\1", b"\1" + bytes(31), bytes(30) + b"\1\0"]
  store = feature_store.Store(tmp_path, 3)
  store.add(zeros, vectors(0, 4).astype(np.float32))
  out = np.zeros((4, 3), np.float32)
  assert feature_store.Store(tmp_path, 3).read(zeros[::-1], out).all()
  np.testing.assert_array_equal(out[::-1], vectors(0, 4))
