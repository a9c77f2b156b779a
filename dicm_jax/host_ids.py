"""ID rows that lie in host memory: each step gets its own, and gives them back.

A state *at rest* holds NumPy arrays of all rows. While training runs, a state
holds the rows of the last step alone, its *window*, on the devices. Batches say
which rows those are (`Layout.ids_windowed`); the train step does not know.

What a step changes must be there for the next one, and copying takes time, so
it is done behind the step's back. While step k runs, a thread puts the rows of
step k - 1 back and then reads those of step k + 1. Of these the host has the
values after step k - 1, which are wrong for rows that step k changes as well:
these are taken from its window, on the devices.
"""

from collections.abc import Callable, Iterator
import concurrent.futures
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Int, Shaped
import numpy as np
import optax

from dicm_jax import errors, optim
from dicm_jax import state as state_lib
from dicm_jax.data import batch as batch_lib
from dicm_jax.data import pipeline
from dicm_jax.sharding import host_table, table
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.state import State

Rows = Int[np.ndarray, " W"]
"""The row behind each number of a window, EMPTY where there is none."""
Pair = tuple[batch_lib.Batch, batch_lib.Batch]
"""A batch and the one that follows it, see `ahead`."""
Step = Callable[[State, Pair], tuple[State, Any]]
"""(state, pair) -> (state, loss)."""


class Fetched(NamedTuple):
  """A window as the host has it."""

  rows: Rows
  values: list[Shaped[jax.Array, "buckets slots *rest"]]
  newer: Int[jax.Array, "buckets slots"]
  """Number in the window before this one; EMPTY: it has no such row."""


class HostIds:
  """Training steps on ID rows that lie on the host.

  It begins with the first step from a state at rest, whose arrays it takes over
  and changes. `at_rest` may be called after any step, and training goes on from
  either state.
  """

  def __init__(self, mesh: Mesh, step: Step):
    """Wraps a train step that finds a batch's rows in its state."""
    self._mesh = mesh
    self._step = step
    self._patch = _make_patch(mesh)
    self._pool = concurrent.futures.ThreadPoolExecutor(1)
    self._table: host_table.HostTable | None = None
    self._last: tuple[Rows, list[jax.Array]] | None = None
    """The last step's window, which the host does not have yet."""
    self._ahead: concurrent.futures.Future[Fetched] | None = None
    """The window of the batch that follows."""

  def step(self, state: State, pair: Pair) -> tuple[State, Any]:
    """Trains on a pair's first batch; the state is given away."""
    if isinstance(state.ids, np.ndarray):
      self._begin(state)
    rows, following = (batch.id_window for batch in pair)
    assert rows is not None and following is not None
    state = state_lib.with_rows(state, self._window(state, rows))
    state, loss = self._step(state, unwindowed(pair))
    before, self._last = self._last, (rows, state_lib.rows_of(state))
    self._ahead = self._pool.submit(self._turn, before, rows, following)
    return state, loss

  def at_rest(self, state: State) -> State:
    """The last step's state with all rows, in arrays that steps will change."""
    if isinstance(state.ids, np.ndarray):
      return state
    return state_lib.with_rows(state, self._settled().arrays)

  def is_finite(self) -> bool:
    """Whether all numbers of all rows are, after the last step."""
    return self._settled().is_finite()

  def _begin(self, state: State) -> None:
    if self._ahead:
      self._ahead.result()  # Nobody writes any more.
    self._table = host_table.HostTable(state_lib.rows_of(state))
    self._last = self._ahead = None

  def _settled(self) -> host_table.HostTable:
    """The host's rows when all steps have given theirs back."""
    assert self._table is not None, "no step was made"
    if self._ahead:
      self._ahead.result()
    if self._last:
      self._write(*self._last)
      self._last = None
    return self._table

  def _window(self, state: State, rows: Rows) -> list[jax.Array]:
    """The batch's rows on the devices."""
    fetched = self._ahead.result() if self._ahead else None
    if fetched is None or fetched.rows is not rows:
      # The first batch, or another than was announced.
      return lay(self._mesh, self._settled().read(rows))
    return self._patch(state_lib.rows_of(state), fetched.values, fetched.newer)

  def _turn(self, before, rows: Rows, following: Rows) -> Fetched:
    """Behind a step's back: what is done with the rows of its neighbours."""
    # First what need not wait for the step before.
    newer = host_table.numbers_in(rows, following)
    if before:
      self._write(*before)
    assert self._table is not None
    *values, newer = lay(self._mesh, [*self._table.read(following), newer])
    return Fetched(following, values, newer)

  def _write(self, rows: Rows, values: list[jax.Array]) -> None:
    assert self._table is not None
    self._table.write(rows, [np.ascontiguousarray(v) for v in values])


def _make_patch(mesh: Mesh):
  """Compiles (window before, window, newer) -> window with the newer rows.

  A row has the same owner in both, so nothing travels.
  """

  def on_device(before, fetched, newer):
    there = newer != table.EMPTY

    def patch(old, new):
      taken = table.read(old, newer.reshape(-1)).reshape(new.shape)
      return jnp.where(there[..., None], taken, new)

    return jax.tree.map(patch, before, fetched)

  specs = (mesh_lib.BATCH,) * 3
  everywhere = jax.shard_map(
    on_device,
    mesh=mesh,
    in_specs=specs,
    out_specs=mesh_lib.BATCH,
    check_vma=False,
  )
  return jax.jit(everywhere, donate_argnums=1)


def lay(
  mesh: Mesh, arrays: list[np.ndarray]
) -> list[Shaped[jax.Array, "buckets slots *rest"]]:
  """Brings windows up to the devices."""
  return jax.device_put(arrays, NamedSharding(mesh, mesh_lib.BATCH))


def unwindowed(pair: Pair) -> Pair:
  """Batches as steps take them, whose state has the rows already."""
  this, following = (batch._replace(id_window=None) for batch in pair)
  return this, following


def with_windows(
  mesh: Mesh, state: State, batches: Iterator[batch_lib.Batch]
) -> Iterator[tuple[State, batch_lib.Batch]]:
  """Batches, each with a state that holds its rows; nothing comes back.

  Args:
    mesh: the mesh.
    state: at rest.
    batches: with windows.
  """
  held = host_table.HostTable(state_lib.rows_of(state))

  def with_its_rows(batch: batch_lib.Batch):
    assert batch.id_window is not None
    rows = lay(mesh, held.read(batch.id_window))
    return state_lib.with_rows(state, rows), batch._replace(id_window=None)

  return pipeline.one_ahead(with_its_rows, batches)


def first_rows(
  blocks: Iterator[tuple[slice, jax.Array]],
  init: Callable[[slice, jax.Array], optax.OptState],
) -> tuple[Shaped[np.ndarray, "buckets slots D"], optax.OptState]:
  """Lays rows and what an optimiser keeps of them into host memory.

  Args:
    blocks: some buckets of the table and their rows, in order; buckets that
      none is of hold zeros, and take no memory until they are written.
    init: makes the optimiser's slots of a block.
  """
  first = next(blocks)
  ids = _whole(first[1])
  slots = jax.tree.map(
    lambda leaf: _whole(leaf) if optim.is_by_row(leaf, first[1]) else leaf,
    init(*first),
  )
  for buckets, rows in itertools.chain([first], blocks):
    ids[buckets] = rows
    made = init(buckets, rows)
    for whole, leaf in zip(*map(jax.tree.leaves, (slots, made)), strict=True):
      if isinstance(whole, np.ndarray):
        whole[buckets] = leaf
  return ids, slots


def _whole(block: jax.Array) -> np.ndarray:
  return np.zeros((table.BUCKETS, *block.shape[1:]), block.dtype)


def check() -> None:
  """Refuses several processes.

  Raises:
    InputError: there are several.
  """
  if jax.process_count() > 1:
    raise errors.InputError(
      "sparse_optimizer.tier='host': expected one process, whose memory holds "
      f"all rows; found {jax.process_count()}. Take 'device'"
    )
