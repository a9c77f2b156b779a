"""Steps that ask for the next batch's rows while they train on this one's.

What owners are asked for, and what a frozen encoder makes of it, depends on
nothing that is learned. So a step may do it for the batch that comes next, in
one program with its own training, and the losses stay the same. Neither waits
for the other: exchanges of one can travel while the other computes.
"""

from collections.abc import Iterable, Iterator
import itertools
from typing import Any

import jax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from dicm_jax import on_mesh, owners, train
from dicm_jax import state as state_lib
from dicm_jax.profiling import hlo
from dicm_jax.program import Program
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.state import Content, State

Pair = tuple[Any, Any]
"""A batch and the one that follows it."""


def pairs(batches: Iterable) -> Iterator[Pair]:
  """Each batch with the next; the last with itself, as none comes after it."""
  this, following = itertools.tee(batches)
  next(following, None)
  for batch in this:
    yield batch, next(following, batch)


class Steps:
  """(state, pair) -> (state, loss); keeps what was asked for in between.

  Args:
    program: the step's fixed parts.
    state: of the run's shape.
    content: the content table, where batches do not bring their own.
  """

  def __init__(self, program: Program, state: State, content: Content):
    specs = state_lib.specs_of(state)
    ask = on_mesh.run(program, _ask_on_device, specs, mesh_lib.BATCH)
    self._ask = jax.jit(ask)
    self._step = jax.jit(_make_step(program, specs), donate_argnums=(0, 3))
    self._content = content
    self._whole = NamedSharding(program.mesh, mesh_lib.BATCH)
    self._asked: tuple[Any, owners.Asked] | None = None
    """Rows of a batch, by which it is known, and what was asked for it."""

  def __call__(self, state: State, pair: Pair) -> tuple[State, jax.Array]:
    batch, following = pair
    if self._asked is None or self._asked[0] is not batch.id_rows:
      self._asked = batch.id_rows, self._ask(state, self._content, batch)
    state, loss, coming = self._step(
      state, self._content, batch, self._asked[1], following
    )
    self._asked = following.id_rows, coming
    return state, loss

  def hlo(self, state: State, pair: Pair) -> str:
    """The compiled step for arguments of these shapes."""
    batch, following = pair
    asked = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self._whole),
      jax.eval_shape(self._ask, state, self._content, batch),
    )
    return hlo.text_of(
      self._step, state, self._content, batch, asked, following
    )


def _ask_on_device(program: Program, state, content, batch):
  del state  # The very point.
  return on_mesh.for_all(owners.ask(program, content, batch))


def _make_step(program: Program, specs: State):
  """(state, content, batch, asked, following) -> (state, loss, asked)."""

  def on_device(state, content, batch, asked, its_content, following):
    following = on_mesh.my_slice(following)
    coming = owners.ask(program, its_content, following)
    batch, asked = on_mesh.my_slice(batch), on_mesh.mine(asked)
    learned = train.train_on_answers(program, state, content, batch, asked)
    return *learned, on_mesh.for_all(coming)

  of_a_batch = (on_mesh.CONTENT, mesh_lib.BATCH)
  step = on_mesh.everywhere(
    program,
    on_device,
    (specs, *of_a_batch, mesh_lib.BATCH, *of_a_batch),
    (specs, P(), mesh_lib.BATCH),
  )

  def everywhere(state, content, batch, asked, following):
    this = on_mesh.parts(content, batch)
    return step(state, *this, asked, *on_mesh.parts(content, following))

  return everywhere
