"""The way from a worker to the owners of its rows, and back: exact, no drops.

A worker asks for its distinct rows, grouped by owner; an all-to-all carries the
row numbers over. The owner joins equal rows of several workers into one (the
"unique cache" of the XDL model server), so that each is computed once. Vectors
come back by the reverse all-to-all, gradients go the same way again and are
summed per row before anybody sees them.

A round has `capacity` places for each pair of worker and owner. Where a group
is larger, all workers stop at the same row number: the smallest for which one
of them has no place. Further, smaller rounds go on from there, as many as it
takes. So overflow costs time, never data; each row belongs to one round,
whoever asks for it, and a round is complete in itself: its rows are embedded,
and updated, once. No array at an owner is larger than what a round can bring.

All functions but those that say otherwise run inside `jax.shard_map`, on one
device's arrays.
"""

from collections.abc import Callable
import dataclasses
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int, PyTree
import numpy as np

from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import table

EMPTY = table.EMPTY
_LAST = np.iinfo(np.int32).max  # Behind all row numbers.

Carry = TypeVar("Carry", bound=PyTree)


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
  ragged: bool = False
  """Whether only places that hold a row travel. XLA can do it on GPUs and
  TPUs, not on CPUs."""


class Left(NamedTuple):
  """What is still to be asked for, grouped by owner, ascending in a group."""

  rows: Int[jax.Array, " U"]
  source: Int[jax.Array, " U"]
  """Index of each among this device's rows."""
  start: Int[jax.Array, " S"]
  """Where the rest of each owner's group starts."""
  end: Int[jax.Array, " S"]
  """Where each owner's group ends."""
  more: Bool[jax.Array, ""]
  """Whether any device has a rest; equal on all devices."""


class Asked(NamedTuple):
  """A round: what this device asked for and what it has to serve."""

  source: Int[jax.Array, "S C"]
  """Index into this device's rows of the c-th row sent to owner s; U = none."""
  rows: Int[jax.Array, " K"]
  """Distinct rows this device serves as an owner, EMPTY-padded at the end."""
  num_rows: Int[jax.Array, ""]
  """How many of `rows` are there."""
  place: Int[jax.Array, "S C"]
  """Index into `rows` of the c-th row that worker s asked for."""
  counts: tuple[Int[jax.Array, " S"], Int[jax.Array, " S"]] | None
  """Rows that this device asked each owner for, and that each worker asked of
  it; None where they are not needed."""
  left: Left | None
  """What the rounds after this one ask for; None where nothing travels."""


def ask(route: Route, rows: Int[jax.Array, " U"]) -> Asked:
  """Asks for a device's rows: the first round, enough for most batches.

  Args:
    route: the exchange.
    rows: this device's distinct rows, ascending, EMPTY at the end.
  """
  if route.owners == 1:  # Nothing travels and nobody else asks.
    here = jnp.arange(rows.size)[None]
    return Asked(here, rows, jnp.sum(rows != EMPTY), here, None, None)
  return _round(route, _group_by_owner(route, rows), route.capacity)


def deliver(
  route: Route,
  first: Asked,
  answer: Callable[[Asked], Float[jax.Array, "K D"]],
) -> Float[jax.Array, "U D"]:
  """Brings this device a vector for each of its rows.

  Args:
    route: the exchange.
    first: its first round.
    answer: the owner's part, once a round: the vectors of `asked.rows`.
  """
  vectors = answer(first)
  if first.left is None:
    return vectors

  def put(out, asked, vectors):
    counts = asked.counts and asked.counts[::-1]  # Back the way they came.
    got = _exchange(route, "vectors", vectors[asked.place], counts)
    return out.at[asked.source].set(got, mode="drop")

  shape = (first.left.source.size, vectors.shape[1])
  return _further(
    route,
    first.left,
    lambda out, asked: put(out, asked, answer(asked)),
    put(jnp.zeros(shape, vectors.dtype), first, vectors),
  )


def collect(
  route: Route,
  first: Asked,
  gradients: Float[jax.Array, "U D"],
  accept: Callable[[Carry, Asked, jax.Array], Carry],
  carry: Carry,
) -> Carry:
  """Brings the gradients of rows to their owners, equal rows' summed.

  Args:
    route: the exchange.
    first: its first round.
    gradients: of each of this device's rows.
    accept: the owner's part, once a round: (carry, asked, gradients [K, D] of
      `asked.rows`) -> carry. No row is in two rounds.
    carry: its first argument in the first round.

  Returns:
    What the last round's `accept` made.
  """
  carry = accept(carry, first, collect_round(route, first, gradients))
  return collect_further(route, first, gradients, accept, carry)


def collect_round(
  route: Route, asked: Asked, gradients: Float[jax.Array, "U D"]
) -> Float[jax.Array, "K D"]:
  """A round of `collect`: gradients of the rows this device serves in it."""
  if asked.left is None:
    return gradients
  piece = gradients.at[asked.source].get(mode="fill", fill_value=0)
  got = _exchange(route, "gradients", piece, asked.counts)
  total = jnp.zeros((asked.rows.size, got.shape[-1]), got.dtype)
  return total.at[asked.place].add(got)


def collect_further(
  route: Route,
  first: Asked,
  gradients: Float[jax.Array, "U D"],
  accept: Callable[[Carry, Asked, jax.Array], Carry],
  carry: Carry,
) -> Carry:
  """The rounds of `collect` after the first; arguments as there."""
  if first.left is None:
    return carry

  def take(carry, asked):
    return accept(carry, asked, collect_round(route, asked, gradients))

  return _further(route, first.left, take, carry)


def _further(
  route: Route,
  left: Left,
  body: Callable[[Carry, Asked], Carry],
  carry: Carry,
) -> Carry:
  """Runs `body(carry, asked)` for each round after the first.

  They are asked for anew on the way back: to keep what an unknown number of
  rounds brought would take room for the worst case.
  """

  def more(state):
    return state[0].more

  def again(state):
    left, carry = state
    asked = _round(route, left, route.spill)
    return asked.left, body(carry, asked)

  return jax.lax.while_loop(more, again, (left, carry))[1]


def largest_group(rows: Int[np.ndarray, " U"], owners: int) -> int:
  """Most rows that a worker asks of any owner (on the host)."""
  owner = table.owner_of(rows[rows != EMPTY], owners)
  return int(np.bincount(owner, minlength=owners).max())


def rounds(route: Route, rows: Int[np.ndarray, "N U"]) -> int:
  """Rounds that the exchange of N workers' rows takes (on the host)."""
  if route.owners == 1:
    return 1
  owner = np.where(rows == EMPTY, EMPTY, table.owner_of(rows, route.owners))
  return max(
    _rounds_of_owner(
      route, [r[o == k] for r, o in zip(rows, owner, strict=True)]
    )
    for k in range(route.owners)
  )


def _rounds_of_owner(route: Route, groups: list[np.ndarray]) -> int:
  count, room = 1, route.capacity
  while waiting := [group[room] for group in groups if len(group) > room]:
    groups = [group[group >= min(waiting)] for group in groups]
    count, room = count + 1, route.spill
  return count


def _group_by_owner(route: Route, rows: Int[jax.Array, " U"]) -> Left:
  """Sorts rows by owner; within an owner's group they stay ascending."""
  owner = jnp.where(
    rows == EMPTY, route.owners, table.owner_of(rows, route.owners)
  )
  # Plain numbers sort several times faster than pairs do.
  keys = jnp.sort(owner * rows.size + jnp.arange(rows.size))
  edges = jnp.searchsorted(keys, jnp.arange(route.owners + 1) * rows.size)
  source = keys % rows.size
  return Left(rows[source], source, edges[:-1], edges[1:], jnp.array(True))


def _round(route: Route, left: Left, capacity: int) -> Asked:
  """Sends the next rows of each group, at most `capacity`, to their owner."""
  place = left.start[:, None] + jnp.arange(capacity + 1)[None]
  rows = jnp.where(
    place < left.end[:, None], left.rows.at[place].get(mode="clip"), _LAST
  )
  with jax.named_scope(f"{route.name}.limits"):
    limit = jax.lax.pmin(rows[:, -1], mesh_lib.BOTH)
  rows, place = rows[:, :-1], place[:, :-1]
  goes = rows < limit[:, None]
  counts = _counts(route, goes)
  wanted = jnp.where(goes, rows, EMPTY)
  received = _exchange(route, "rows", wanted, counts, fill=EMPTY)
  served, count, found = _distinct(received.reshape(-1))
  return Asked(
    source=jnp.where(
      goes, left.source.at[place].get(mode="clip"), left.source.size
    ),
    rows=served,
    num_rows=count,
    place=found.reshape(received.shape),
    counts=counts,
    left=left._replace(
      start=left.start + jnp.sum(goes, axis=1, dtype=jnp.int32),
      more=jnp.any(limit < _LAST),
    ),
  )


def _distinct(rows: Int[jax.Array, " K"]):
  """Distinct rows, ascending, their count, and each input's index there."""
  keys = jnp.where(rows == EMPTY, _LAST, rows)
  ordered = jnp.sort(keys)
  first = jnp.concatenate([jnp.array([True]), ordered[1:] != ordered[:-1]])
  index = jnp.cumsum(first, dtype=jnp.int32) - 1
  distinct = jnp.full_like(rows, _LAST).at[index].set(ordered)
  count = jnp.sum(distinct != _LAST, dtype=jnp.int32)
  place = jnp.searchsorted(distinct, keys)
  return jnp.where(distinct == _LAST, EMPTY, distinct), count, place


def _counts(route: Route, goes: Bool[jax.Array, "S C"]):
  """Rows that go to each device, and that come from each."""
  if not route.ragged:
    return None
  sent = jnp.sum(goes, axis=1, dtype=jnp.int32)
  with jax.named_scope(f"{route.name}.counts"):
    return sent, jax.lax.all_to_all(sent, route.axes, 0, 0, tiled=True)


def _exchange(route: Route, what: str, piece, counts, fill=0):
  """Piece s of this device goes to device s; what device s sent comes back.

  Args:
    route: the exchange.
    what: travels, for the ledger.
    piece: [S, C, ...].
    counts: of the first places of each piece those that are to go, and to
      come; None: all.
    fill: what is in places to which nothing comes.
  """
  with jax.named_scope(f"{route.name}.{what}"):
    if counts is None:
      return jax.lax.all_to_all(piece, route.axes, 0, 0)
    return _ragged(route, piece, counts, fill)


def _ragged(route: Route, piece, counts, fill):
  owners, capacity, *rest = piece.shape
  flat = piece.reshape(owners * capacity, *rest)
  starts = capacity * jnp.arange(owners, dtype=jnp.int32)
  mine = capacity * jax.lax.axis_index(route.axes)
  sent, received = counts
  got = jax.lax.ragged_all_to_all(
    flat,
    jnp.full_like(flat, fill),
    starts,
    sent,
    jnp.full_like(starts, mine),  # Where it lands on the others.
    received,
    axis_name=route.axes,
  )
  return got.reshape(piece.shape)
