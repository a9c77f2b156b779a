"""Tables whose rows lie in buckets, and access to one shard of them.

A table of R rows is an array [BUCKETS, ceil(R / BUCKETS), ...]: row r lies at
slot r // BUCKETS of the bucket whose number is r % BUCKETS with its bits in
reverse order. The bucket axis is sharded in blocks, so the reversal deals
neighbouring rows, the hot ones where vocabularies are sorted by frequency,
to different owners. Any device count that divides BUCKETS can load any
checkpoint, and a table grows by lengthening its second axis.
"""

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Int, Shaped
import numpy as np

from dicm_jax import errors

BUCKETS = 256
# Bit reversal of a byte; its own inverse.
_REVERSED = np.array(
  [int(f"{b:08b}"[::-1], 2) for b in range(BUCKETS)], np.int32
)
EMPTY = -1
"""Row number of padding: reads give zeros, writes and requests are dropped."""


def slots(rows: int) -> int:
  """Number of slots a bucket needs for `rows` rows."""
  return -(-rows // BUCKETS)


def check_owners(owners: int) -> None:
  """Raises InputError where `owners` devices cannot share the buckets."""
  if BUCKETS % owners:
    raise errors.InputError(
      f"mesh: {owners} devices would own table rows; expected a divisor of "
      f"{BUCKETS} (a power of two up to {BUCKETS})"
    )


def owner_of(rows, owners: int):
  """Index of the shard that holds each row; works on NumPy and JAX arrays.

  >>> owner_of(np.array([0, 1, 2, 3, 4, 8, 256]), 8).tolist()
  [0, 4, 2, 6, 1, 0, 0]
  """
  return _bucket_of(rows) // (BUCKETS // owners)


def _bucket_of(rows):
  """Bucket of each row; works on NumPy and JAX arrays."""
  if isinstance(rows, np.ndarray):
    return _REVERSED[rows % BUCKETS]
  return jnp.asarray(_REVERSED)[rows % BUCKETS]


def place_in_flat(
  rows: Int[np.ndarray, " K"], num_slots: int
) -> Int[np.ndarray, " K"]:
  """Index of rows in a table laid flat, of so many slots a bucket."""
  # 64 bits: buckets x slots may be more than there are rows.
  buckets = _REVERSED[rows % BUCKETS].astype(np.int64)
  return buckets * num_slots + rows // BUCKETS


def to_buckets(
  rows: Shaped[np.ndarray, " R *rest"],
) -> Shaped[np.ndarray, " buckets slots *rest"]:
  """Lays rows out in buckets, padding the last slot with zeros."""
  num_rows, *rest = rows.shape
  pad = slots(num_rows) * BUCKETS - num_rows
  filled = rows  # Not copied where it need not be: it may be most of memory.
  if pad:
    filled = np.concatenate([rows, np.zeros((pad, *rest), rows.dtype)])
  return filled.reshape(-1, BUCKETS, *rest).swapaxes(0, 1)[_REVERSED]


def from_buckets(
  table: Shaped[np.ndarray, " buckets slots *rest"], num_rows: int
) -> Shaped[np.ndarray, " R *rest"]:
  """Inverse of `to_buckets`."""
  flat = table[_REVERSED].swapaxes(0, 1).reshape(-1, *table.shape[2:])
  return flat[:num_rows]


def rows_at(
  num_rows: int,
) -> Int[np.ndarray, "buckets slots"]:
  """Row that lies at each place of a table; EMPTY: none does.

  >>> rows_at(300)[:, 1].max()
  np.int32(299)
  """
  rows = np.arange(num_rows, dtype=np.int32)
  # Zeros are what padding is filled with, so count from 1.
  return to_buckets(rows + 1) - 1


def init_normal(
  key: jax.Array,
  num_rows: int,
  width: int,
  *,
  stddev: float,
  mesh: Mesh,
  spec: PartitionSpec,
) -> Float[jax.Array, "buckets slots width"]:
  """Normal rows, made in place on their shards and equal on every mesh."""

  def make(key):
    shape = (BUCKETS, slots(num_rows), width)
    return stddev * jax.random.normal(key, shape, jnp.float32)

  return jax.jit(make, out_shardings=NamedSharding(mesh, spec))(key)


def _place(shard, rows: Int[jax.Array, " K"]):
  """Bucket and slot of rows in the shard that owns them; outside if EMPTY.

  Both, in place of an index into the shard laid flat: XLA lays a flat table of
  rows of one number out anew, and copies it whole for every write.
  """
  buckets = shard.shape[0]
  bucket = _bucket_of(rows) % buckets
  return jnp.where(rows == EMPTY, buckets, bucket), rows // BUCKETS


def read(
  shard: Shaped[jax.Array, " buckets slots *rest"],
  rows: Int[jax.Array, " K"],
) -> Shaped[jax.Array, " K *rest"]:
  """Reads rows from the shard that owns them; EMPTY rows read as zeros."""
  return shard.at[_place(shard, rows)].get(mode="fill", fill_value=0)


def write(
  shard: Shaped[jax.Array, " buckets slots *rest"],
  rows: Int[jax.Array, " K"],
  values: Shaped[jax.Array, " K *rest"],
) -> Shaped[jax.Array, " buckets slots *rest"]:
  """Writes distinct rows into the shard that owns them; skips EMPTY."""
  return shard.at[_place(shard, rows)].set(values, mode="drop")
