"""64 bits that tell whether an array is the one that was saved.

An array's bits are taken as words of 32. Each is mixed with its place in the
whole array by two bijections, and either's results are summed modulo 2**32. So
one changed word always changes both sums; any other damage goes unseen with a
probability of about 2**-64. Sums of whole numbers do not depend on their order:
an array has one fingerprint, on any mesh and in host memory.

It guards against broken disks, not against forgers.

Source of the mixing: the finaliser of MurmurHash3, `fmix32` (Austin Appleby,
public domain), https://github.com/aappleby/smhasher, src/MurmurHash3.cpp.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree, Shaped, UInt32
import numpy as np

SEEDS = (0x9E3779B9, 0x3C6EF372)
"""Any two numbers: what makes the two sums differ."""
SMALL = 1 << 20
"""Elements of an array that goes to the host if a device has it whole."""
BLOCK = 1 << 16
"""Words of a NumPy array that are mixed at a time: they stay in the cache."""


def of(tree: PyTree) -> dict[str, str]:
  """Fingerprints of a tree's arrays, 16 hexadecimal digits by dotted name.

  Large arrays on devices are summed up where they lie. Each process must call
  it.

  Args:
    tree: arrays of JAX or NumPy, of 1, 2 or 4 bytes an element.
  """
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  assert all(leaf.dtype.itemsize <= 4 for _, leaf in leaves)
  there = iter(np.asarray(_sums([v for _, v in leaves if _stays(v)])))
  fetched = jax.device_get([v for _, v in leaves if not _stays(v)])
  here = map(_sums_on_host, map(np.asarray, fetched))
  return {
    name_of(path): "{:08x}{:08x}".format(*next(there if _stays(v) else here))
    for path, v in leaves
  }


def _stays(leaf: Any) -> bool:
  """Whether an array is summed up on its devices."""
  if not isinstance(leaf, jax.Array):
    return False
  # To compile a program for each small one would take longer.
  return leaf.size > SMALL or not leaf.is_fully_replicated


def name_of(path: Any) -> str:
  """Dotted name of a leaf, e.g. dense.net.layers.0.kernel."""
  return jax.tree_util.keystr(tuple(path), simple=True, separator=".")


@jax.jit
def _sums(arrays: list[Shaped[Array, "..."]]) -> UInt32[Array, "n 2"]:
  """The two sums of each array; only they travel between devices."""
  if not arrays:
    return jnp.zeros((0, 2), jnp.uint32)
  return jnp.stack([_sums_of(array) for array in arrays])


def _sums_of(array: Shaped[Array, "*shape"]) -> UInt32[Array, "2"]:
  words = _words(array) ^ mix(_places(array.shape))
  return jnp.stack(
    [mix(words ^ jnp.uint32(seed)).sum(dtype=jnp.uint32) for seed in SEEDS]
  )


def _words(array: Shaped[Array, "*shape"]) -> UInt32[Array, "*shape"]:
  """An element's bits as a number."""
  if array.dtype == jnp.bool:
    return array.astype(jnp.uint32)
  bits = jnp.dtype(f"uint{8 * array.dtype.itemsize}")
  return jax.lax.bitcast_convert_type(array, bits).astype(jnp.uint32)


def _places(shape: tuple[int, ...]) -> UInt32[Array, "*shape"]:
  """Number of each element in the array laid flat, modulo 2**32."""
  places = jnp.zeros(shape, jnp.uint32)
  for axis in range(len(shape)):
    stride = jnp.uint32(math.prod(shape[axis + 1 :]) % 2**32)
    places += stride * jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
  return places


def mix(x):
  """A bijection of 32-bit words; works on NumPy and JAX arrays."""
  shift, factor = x.dtype.type, x.dtype.type
  x = x ^ (x >> shift(16))
  x = x * factor(0x85EBCA6B)
  x = x ^ (x >> shift(13))
  x = x * factor(0xC2B2AE35)
  return x ^ (x >> shift(16))


def _sums_on_host(array: Shaped[np.ndarray, "..."]) -> UInt32[np.ndarray, "2"]:
  """The same in NumPy, a block at a time: the array may be most of memory."""
  flat = array.reshape(-1).view(f"uint{8 * array.dtype.itemsize}")
  total = np.zeros(2, np.uint32)
  for first in range(0, flat.size, BLOCK):
    words = flat[first : first + BLOCK].astype(np.uint32)
    words ^= mix(_range(first, words.size))
    # An array: NumPy warns of scalars that overflow.
    total += np.array(
      [mix(words ^ np.uint32(s)).sum(dtype=np.uint32) for s in SEEDS]
    )
  return total


def _range(first: int, count: int) -> UInt32[np.ndarray, " n"]:
  return np.arange(count, dtype=np.uint32) + np.uint32(first % 2**32)
