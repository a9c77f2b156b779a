"""The way from a worker to the owners of its rows, and back: exact, no drops.

A worker asks for its distinct rows, grouped by owner into `capacity` places an
owner; an all-to-all carries the row numbers over. Where a group is larger, the
exchange runs further, smaller rounds, as many as the largest group of the mesh
needs: overflow costs time, never data. The owner joins equal rows of several
workers into one (the "unique cache" of the XDL model server), so that each is
computed once. Vectors come back by the reverse all-to-all, gradients go the
same way again and are summed per row before anybody sees them.

All functions run inside `jax.shard_map`, on one device's arrays.
"""

from collections.abc import Callable
import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int
import numpy as np

from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import table

EMPTY = table.EMPTY


@dataclasses.dataclass(frozen=True, kw_only=True)
class Route:
  """Static facts of one exchange."""

  name: str
  """Name of its collectives in the compiled program, read by the ledger."""
  axes: tuple[str, ...]
  """Mesh axes over which the rows are spread."""
  owners: int
  """Number of shards along `axes`."""
  capacity: int
  """Rows one worker sends to one owner in the first round."""
  spill: int
  """Rows one worker sends to one owner in each further round."""

  def rounds(self, group):
    """Rounds that a group of so many rows takes; an int or an array."""
    # In integers max(x, 0) without a choice between NumPy's and JAX's.
    over = (group - self.capacity) * (group > self.capacity)
    return 1 + -(-over // self.spill)


class Asked(NamedTuple):
  """What this device asked for and what it has to serve."""

  source: Int[jax.Array, "S M"]
  """Index into this device's rows of the m-th row sent to owner s; U = none."""
  rows: Int[jax.Array, " K"]
  """Distinct rows this device serves as an owner, EMPTY-padded at the end."""
  num_rows: Int[jax.Array, ""]
  """How many of `rows` are there."""
  place: Int[jax.Array, "S M"]
  """Index into `rows` of the m-th row that worker s asked for; K = none."""
  rounds: Int[jax.Array, ""]
  """Rounds the exchange takes on this batch, equal on all devices."""


def ask(route: Route, rows: Int[jax.Array, " U"], *, shard_rows: int) -> Asked:
  """Sends each distinct row number once to its owner.

  Args:
    route: the exchange.
    rows: this device's distinct rows, EMPTY where there is none.
    shard_rows: rows that one owner's shard can hold, a bound on what it may
      ever have to serve.
  """
  if route.owners == 1:  # Nothing travels and nobody else asks.
    here = jnp.where(rows == EMPTY, rows.size, jnp.arange(rows.size))
    count = jnp.sum(rows != EMPTY)
    return Asked(here[None], rows, count, here[None], jnp.int32(1))
  source, rounds = _group_by_owner(route, rows)

  def send(start, size, received):
    piece = rows.at[_piece(source, start, size)].get(
      mode="fill", fill_value=EMPTY
    )
    got = _exchange(route, "rows", piece)
    return jax.lax.dynamic_update_slice_in_dim(received, got, start, axis=1)

  received = _rounds(route, rounds, send, jnp.full_like(source, EMPTY))
  served, place, count = _distinct(received.reshape(-1))
  # An owner cannot be asked for more distinct rows than it holds.
  bound = min(served.size, shard_rows)
  place = jnp.where(received.reshape(-1) == EMPTY, bound, place)
  return Asked(
    source, served[:bound], count, place.reshape(source.shape), rounds
  )


def deliver(
  route: Route,
  asked: Asked,
  vectors: Float[jax.Array, "K D"],
  num_rows: int,
) -> Float[jax.Array, "U D"]:
  """Carries the owners' vectors back: one for each of this device's rows."""
  if route.owners == 1:
    return vectors

  def send(start, size, out):
    place = _piece(asked.place, start, size)
    piece = vectors.at[place].get(mode="fill", fill_value=0)
    got = _exchange(route, "vectors", piece)
    return out.at[_piece(asked.source, start, size)].set(got, mode="drop")

  out = jnp.zeros((num_rows, vectors.shape[1]), vectors.dtype)
  return _rounds(route, asked.rounds, send, out)


def collect(
  route: Route, asked: Asked, gradients: Float[jax.Array, "U D"]
) -> Float[jax.Array, "K D"]:
  """Carries gradients to the owners and sums those of equal rows."""
  if route.owners == 1:
    return gradients

  def send(start, size, total):
    source = _piece(asked.source, start, size)
    piece = gradients.at[source].get(mode="fill", fill_value=0)
    got = _exchange(route, "gradients", piece)
    return total.at[_piece(asked.place, start, size)].add(got, mode="drop")

  total = jnp.zeros((asked.rows.size, gradients.shape[1]), gradients.dtype)
  return _rounds(route, asked.rounds, send, total)


def largest_group(rows: Int[np.ndarray, "N U"], owners: int) -> int:
  """Most rows that any of N workers asks of any owner (on the host)."""
  sizes = [
    np.bincount(table.owner_of(row[row != EMPTY], owners), minlength=owners)
    for row in rows
  ]
  return int(np.max(sizes))


def _group_by_owner(route, rows):
  """Index of each row within its owner's group, as `source`, and the rounds.

  A running count per owner takes O(U S) steps but no sort, which is the
  slowest thing one can ask of XLA on a CPU.
  """
  owner = jnp.where(
    rows == EMPTY, route.owners, table.owner_of(rows, route.owners)
  )
  mine = owner[:, None] == jnp.arange(route.owners)[None]
  running = jnp.cumsum(mine, axis=0, dtype=jnp.int32)
  position = jnp.take_along_axis(
    running, jnp.minimum(owner, route.owners - 1)[:, None], axis=1
  )[:, 0]
  most = jax.lax.pmax(jnp.max(running[-1]), mesh_lib.BOTH)
  most_rounds = route.rounds(rows.size)
  length = route.capacity + (most_rounds - 1) * route.spill
  source = jnp.full((route.owners, length), rows.size, jnp.int32)
  index = jnp.arange(rows.size, dtype=jnp.int32)
  source = source.at[owner, position - 1].set(index, mode="drop")
  return source, route.rounds(most)


def _distinct(rows: Int[jax.Array, " n"]):
  """Distinct rows in ascending order, each input's index there, their count."""
  last = jnp.iinfo(rows.dtype).max
  keys = jnp.where(rows == EMPTY, last, rows)
  order = jnp.argsort(keys)
  ordered = keys[order]
  first = jnp.concatenate([jnp.array([True]), ordered[1:] != ordered[:-1]])
  index = jnp.cumsum(first, dtype=jnp.int32) - 1
  place = jnp.zeros_like(index).at[order].set(index)
  distinct = jnp.full_like(rows, EMPTY).at[index].set(ordered)
  count = jnp.sum(first & (ordered != last))
  return jnp.where(distinct == last, EMPTY, distinct), place, count


def _rounds(route: Route, rounds, body: Callable, init):
  """Runs `body(start, size, carry)` for the first and each further round."""

  def further(k, carry):
    start = route.capacity + (k - 1) * route.spill
    return body(start, route.spill, carry)

  return jax.lax.fori_loop(1, rounds, further, body(0, route.capacity, init))


def _piece(array, start, size: int):
  return jax.lax.dynamic_slice_in_dim(array, start, size, axis=1)


def _exchange(route: Route, what: str, piece):
  """Piece s of this device goes to device s; what device s sent comes back."""
  with jax.named_scope(f"{route.name}.{what}"):
    return jax.lax.all_to_all(piece, route.axes, 0, 0)
