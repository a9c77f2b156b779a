"""The first rows of a table, made block by block: no device holds it whole.

`jax.random` makes number i of an array by hashing i, whatever else the array
holds (threefry, partitionable). So a block can be made by itself: a kind of key
that also says where to begin to count gives the numbers from there on.
"""

from collections.abc import Iterator
import math
from typing import Any, NoReturn

import jax
from jax.extend import random as jax_random
import jax.numpy as jnp
from jaxtyping import Float
import numpy as np

from dicm_jax.sharding import table

BLOCK_BYTES = 1 << 26
"""A block is no larger than this, or one bucket."""


def blocks(
  key: jax.Array, num_rows: int, width: int, *, stddev: float, device: Any
) -> Iterator[tuple[slice, Float[jax.Array, "b slots width"]]]:
  """The very rows of `table.init_normal`, some buckets at a time, in order.

  Args:
    key: of JAX's usual kind, threefry.
    num_rows: of the whole table.
    width: numbers of a row.
    stddev: of the numbers.
    device: where a block is made.

  Yields:
    The buckets that a block is of, and their rows.
  """
  slots = table.slots(num_rows)
  buckets = table.BUCKETS
  while buckets > 1 and 4 * buckets * slots * width > BLOCK_BYTES:
    buckets //= 2
  shape = (buckets, slots, width)

  @jax.jit
  def make(key):
    return stddev * jax.random.normal(key, shape, jnp.float32)

  for first in range(0, table.BUCKETS, buckets):
    at = _key_from(key, first * slots * width)
    yield slice(first, first + buckets), make(jax.device_put(at, device))


def _key_from(key: jax.Array, start: int) -> jax.Array:
  """The key of numbers from the `start`-th on."""
  begin = np.array([start >> 32, start & 0xFFFFFFFF], np.uint32)
  data = jnp.concatenate([jax.random.key_data(key), begin])
  return jax.random.wrap_key_data(data, impl=_FROM)


def _bits_from(key: jax.Array, bit_width: int, shape: tuple[int, ...]):
  """The bits of numbers from start on; the key is (seed 0, 1, start hi, lo)."""
  assert bit_width == 32
  low = jax.lax.iota(jnp.uint32, math.prod(shape)) + key[3]
  high = key[2] + (low < key[3]).astype(jnp.uint32)
  hashed = jax_random.threefry_2x32(key[:2], jnp.concatenate([high, low]))
  one, other = jnp.split(hashed, 2)
  return (one ^ other).reshape(shape)


def _never(*_) -> NoReturn:
  raise NotImplementedError("keys of blocks draw one array and no more")


_FROM = jax_random.define_prng_impl(
  key_shape=(4,),
  seed=_never,
  split=_never,
  random_bits=_bits_from,
  fold_in=_never,
  name="threefry from a start",
)
