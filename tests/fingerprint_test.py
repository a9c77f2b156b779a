"""Fingerprints: any changed word is seen, and arrays have one everywhere."""

from hypothesis import given
from hypothesis import strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dicm_jax import fingerprint
from dicm_jax.sharding import mesh as mesh_lib

KINDS = ("float32", "bfloat16", "float16", "int32", "uint8", "int8", "bool")
WORD = st.integers(0, 2**32 - 1)


def array_of(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
  bits = np.random.default_rng(0).integers(0, 2, (*shape, 4), np.uint8)
  if dtype == "bool":
    return bits[..., 0].astype(bool)
  return (bits @ np.array([1, 2, 4, 8], np.uint8)).astype(jnp.dtype(dtype))


def one(array) -> str:
  return fingerprint.of({"x": array})["x"]


def where_it_lies(array) -> str:
  """Of a small array too, which otherwise goes to the host."""
  (sums,) = np.asarray(fingerprint._sums([jnp.asarray(array)])).tolist()
  return "{:08x}{:08x}".format(*sums)


@given(WORD)
def test_mixing_can_be_undone(word):
  """As the finaliser's inverse takes each word back, it is a bijection."""

  def unshift(x: int, by: int) -> int:
    found = x
    for _ in range(32 // by):
      found = x ^ (found >> by)
    return found

  x = int(fingerprint.mix(np.array([word], np.uint32))[0])
  x = unshift(x, 16) * pow(0xC2B2AE35, -1, 2**32) % 2**32
  x = unshift(x, 13) * pow(0x85EBCA6B, -1, 2**32) % 2**32
  assert unshift(x, 16) == word


@pytest.mark.parametrize(
  ("word", "mixed"), [(0, 0), (1, 0x514E28B7), (0xFFFFFFFF, 0x81F16F39)]
)
def test_mixing_is_murmurhash3s_finaliser(word, mixed):
  """Known values of fmix32, as MurmurHash3's sources give."""
  assert fingerprint.mix(np.array([word], np.uint32)).tolist() == [mixed]


@pytest.mark.parametrize("dtype", KINDS)
def test_every_flipped_bit_changes_both_sums(dtype):
  array = array_of(dtype, (3, 5))
  before = one(array)
  size = array.dtype.itemsize
  for place in range(array.size):
    for bit in range(1 if dtype == "bool" else 8 * size):
      flipped = array.copy()
      raw = flipped.reshape(-1).view(np.uint8)
      raw[place * size + bit // 8] ^= 1 << bit % 8
      after = one(flipped)
      assert after[:8] != before[:8] and after[8:] != before[8:]


def test_swapped_moved_and_repeated_words_are_seen():
  array = np.arange(12, dtype=np.float32).reshape(3, 4)
  others = (array[::-1], array.T.reshape(3, 4), array * 0, np.roll(array, 1))
  found = {one(other) for other in (array, *others)}
  assert len(found) == 5


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("shape", [(), (1,), (0, 4), (7, 3), (2, 3, 5)])
def test_host_and_device_agree(dtype, shape):
  array = array_of(dtype, shape)
  assert one(array) == where_it_lies(array) == one(jnp.asarray(array))


def test_blocks_of_a_large_array_are_numbered_on(monkeypatch):
  array = array_of("float32", (1000,))
  whole = one(array)
  monkeypatch.setattr(fingerprint, "BLOCK", 7)
  assert one(array) == whole


@pytest.mark.parametrize("mesh", [(1, 1), (1, 8), (2, 2)])
def test_no_mesh_changes_it_and_only_sums_travel(mesh):
  array = array_of("float32", (256, 3, 4))
  devices = jax.devices()[: mesh[0] * mesh[1]]
  on_mesh = mesh_lib.make_mesh(*mesh, devices)
  for spec in (mesh_lib.BATCH, mesh_lib.CONTENT, mesh_lib.REPLICATED):
    laid = mesh_lib.put(on_mesh, spec, array)
    assert one(laid) == one(array)
    text = fingerprint._sums.lower([laid]).compile().as_text()
    assert "all-gather" not in text and "all-to-all" not in text
