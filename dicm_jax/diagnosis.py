"""Why a step was refused: which number went out of bounds, and since when.

A refused step changed nothing (`guard`), so that state and batch are what it
saw. They go through the step once more, and this time it says of each array
whether it is finite. Of causes the first counts: what the batch brings, what
had been learned before, the samples' own losses, gradients, and at last the
values that an optimiser made of them.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree
import numpy as np

from dicm_jax import (
  bad_input,
  experiment,
  fingerprint,
  guard,
  on_mesh,
  optim,
  owners,
  train,
)
from dicm_jax import state as state_lib
from dicm_jax import task as task_lib
from dicm_jax.data import batch as batch_lib
from dicm_jax.model import loss, nets
from dicm_jax.program import Program
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import table
from dicm_jax.state import Batch, Content, State

NAMED = 3
"""Arrays that are named; of more their number is told."""


class Wrong(NamedTuple):
  """Devices, by array, on which not all of it is finite."""

  state: PyTree
  gradients: PyTree
  new: PyTree
  """Parameters and slots that the optimisers made."""


class Seen(NamedTuple):
  """A step's samples and ID rows, by device; places as in `Batch`."""

  logit: Float[np.ndarray, "N b"]
  loss: Float[np.ndarray, "N b"]
  weight: Float[np.ndarray, "N b"]
  rows: Bool[np.ndarray, "N U"]
  """Whether the row is finite."""
  row_gradients: Bool[np.ndarray, "N U"]


def explain(
  x: experiment.Experiment, state: State, batch: batch_lib.Batch, step: int
) -> task_lib.Cause:
  """Finds out why a training step was refused; all processes must call it.

  Args:
    x: the experiment.
    state: as the step left it; with ID rows on the host, at rest.
    batch: of the step, on the devices.
    step: its number, from 1.
  """
  held, unwindowed = next(x.with_rows(state, iter([batch])))
  mean, wrong, seen = _look(x, held, unwindowed)
  samples = x.order(step - 1)
  for found in bad_input.find(x, batch, samples):
    return task_lib.Cause(what(mean, wrong), found, in_data=True)
  found = [
    *_rows(x, seen.rows, batch, "ID row"),
    *names(wrong.state, "parameter"),
    *_samples(x, seen, samples),
    *_rows(x, seen.row_gradients, batch, "gradient of ID row"),
    _largest(x, seen, samples),
  ]
  return task_lib.Cause(what(mean, wrong), found[0])


def what(mean: float, wrong: Wrong) -> str:
  """The first value of a step, in the order it is made, out of bounds."""
  if not np.isfinite(mean):
    return f"the loss is {mean}"
  for tree, kind in (
    (wrong.gradients, "the gradient of"),
    (wrong.new, "the update of"),
  ):
    for found in names(tree, kind):
      return f"the loss is {mean:.4g}, but {found}"
  return (
    f"a number went out of bounds (the loss is {mean:.4g}) that is finite when "
    "it is made again: a device or its memory may be faulty"
  )


def names(wrong: PyTree, kind: str) -> Iterator[str]:
  """Of arrays that are not finite; nothing where all are."""
  leaves = jax.tree_util.tree_leaves_with_path(wrong)
  found = [fingerprint.name_of(path) for path, count in leaves if count]
  if found:
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    verb = "is" if len(found) == 1 else "are"
    yield f"{kind} {', '.join(found[:NAMED])}{more} {verb} not finite"


def _look(
  x: experiment.Experiment, state: State, batch: batch_lib.Batch
) -> tuple[float, Wrong, Seen]:
  """The step's loss, and what of it is finite, on the host."""
  out = (mesh_lib.REPLICATED, mesh_lib.REPLICATED, mesh_lib.BATCH)
  specs = state_lib.specs_of(state)
  step = jax.jit(on_mesh.run(x.program, _on_device, specs, out))
  mean, wrong, seen = jax.tree.map(
    bad_input.on_host, step(state, x.content, batch)
  )
  return float(mean), wrong, seen


def _on_device(
  program: Program, state: State, content: Content, batch: Batch
) -> tuple[Float[Array, ""], Wrong, PyTree]:
  asked = owners.ask(program, content, batch)
  served = owners.answer(program, state, content, asked)
  found = train.differentiate(program, state, batch, served)
  own = found.gradients
  made = train.work_out(program, state, asked.ids, found)
  heads = nets.heads(
    program.net(state.dense["net"]),
    served.id_vectors,
    served.image_vectors,
    batch.inputs,
  )
  wrong = Wrong(
    state=not_finite(state._replace(ids=(), id_slots=())),
    gradients={
      "dense": not_finite(made.gradients.dense),
      "ID rows": not_finite(own.ids),
      "image vectors": not_finite(own.images),
    },
    new={
      "dense": not_finite(made.dense),
      "dense_slots": not_finite(made.dense_slots),
      "ID rows": (~optim.is_finite(made.rows, asked.ids.rows)).astype(int),
    },
  )
  seen = (
    heads[0],
    loss.of_heads(heads, batch.label),
    batch.weight,
    jnp.isfinite(served.id_vectors).all(1),
    jnp.isfinite(own.ids).all(1),
  )
  mean, wrong = mesh_lib.total((found.loss, wrong))
  return mean, wrong, Seen(*on_mesh.for_all(seen))


def not_finite(tree: PyTree) -> PyTree:
  return jax.tree.map(lambda x: (~guard.is_finite(x)).astype(jnp.int32), tree)


def _rows(
  x: experiment.Experiment,
  finite: Bool[np.ndarray, "N U"],
  batch: batch_lib.Batch,
  kind: str,
) -> Iterator[str]:
  """ID rows of the batch, by the feature they are of."""
  asked = bad_input.on_host(batch.id_rows)
  wrong = asked[~finite & (asked != table.EMPTY)]
  if not len(wrong):
    return
  number = int(wrong[0])
  if batch.id_window is not None:
    number = int(batch.id_window[number])
  offsets = x.layout.offsets
  name = max(
    (name for name in offsets if offsets[name] <= number),
    key=offsets.__getitem__,
  )
  of = f"the first of {len(wrong)}" if len(wrong) > 1 else "the only one"
  yield (
    f"{kind} {number - offsets[name]} of feature {name!r} is not finite, {of}"
  )


def _samples(
  x: experiment.Experiment, seen: Seen, samples: Int[np.ndarray, " B"]
) -> Iterator[str]:
  """Samples whose own loss is not finite."""
  losses, there = seen.loss.reshape(-1), seen.weight.reshape(-1) > 0
  wrong = np.flatnonzero(there & ~np.isfinite(losses))
  if len(wrong):
    yield (
      f"{len(wrong)} of {there.sum()} samples' losses are not finite, though "
      "data and parameters are; the first: "
      f"{_sample(x, seen, samples, wrong[0])}"
    )


def _largest(
  x: experiment.Experiment, seen: Seen, samples: Int[np.ndarray, " B"]
) -> str:
  logits, there = seen.logit.reshape(-1), seen.weight.reshape(-1) > 0
  place = np.argmax(np.where(there, np.abs(logits), 0))
  return f"the largest logit is of {_sample(x, seen, samples, place)}"


def _sample(x: experiment.Experiment, seen: Seen, samples, place) -> str:
  logit = seen.logit.reshape(-1)[place]
  return f"{bad_input.sample(x, samples[place])}, logit {logit:.4g}"
