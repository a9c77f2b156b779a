"""One training step: the Advanced Model Server's Algorithm 1 on a mesh.

Every device plays both parts in turn. As a worker it holds a slice of the
batch and knows row numbers only; as an owner it holds rows of the tables. A
step: read the batch, request its distinct rows, the owners embed, the CTR
network runs, the gradients go back, the owners update the rows touched.

All is worked out before anything is written, see `guard`.
"""

from typing import NamedTuple

import jax
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, PyTree
import optax

from dicm_jax import guard, on_mesh, optim, owners
from dicm_jax import state as state_lib
from dicm_jax.model import loss, nets
from dicm_jax.profiling import parts
from dicm_jax.program import Program
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import route
from dicm_jax.state import Batch, Content, State


class Gradients(NamedTuple):
  """Of the mean loss, as far as a device's own samples and rows make it."""

  dense: dict[str, PyTree]
  """By `State.dense`."""
  ids: Float[Array, "U D"]
  """Of the vectors of its distinct ID rows."""
  images: Float[Array, "V E"]
  """Of those of its distinct images, the trained numbers."""


class Found(NamedTuple):
  """What a device's own samples and rows come to."""

  loss: Float[Array, ""]
  """Its part of the mean."""
  gradients: Gradients
  statistics: PyTree
  """What the net counts besides (Dice), see `nets.statistics`."""


class Worked(NamedTuple):
  """What a step comes to before it is written."""

  gradients: Gradients
  """The dense ones summed over all devices."""
  dense: dict[str, PyTree]
  """New dense parameters."""
  dense_slots: optax.OptState
  rows: optim.Touched
  """New ID rows of the exchange's first round, and their slots."""
  wrong: Float[Array, ""]
  """Devices on which loss, rows or a vector's gradient is not finite."""


def train_on_device(
  program: Program, state: State, content: Content, batch: Batch
) -> tuple[State, Float[Array, ""]]:
  """One device's part of a step; returns the new state and the mean loss.

  A step with a number out of bounds changes nothing, and its loss is not
  finite; see `guard`.
  """
  asked = owners.ask(program, content, batch)
  return train_on_answers(program, state, content, batch, asked)


def train_on_answers(
  program: Program,
  state: State,
  content: Content,
  batch: Batch,
  asked: owners.Asked,
) -> tuple[State, Float[Array, ""]]:
  """The step from where the slice's rows have been asked for."""
  served = owners.answer(program, state, content, asked)
  found = differentiate(program, state, batch, served)
  return learn(program, state, asked.ids, found)


def differentiate(
  program: Program, state: State, batch: Batch, served: owners.Served
) -> Found:
  """The loss and its gradients."""

  def mean_loss(params, id_vectors, image_vectors):
    net = program.net(params)
    heads = nets.heads(net, id_vectors, image_vectors, batch.inputs)
    losses = batch.weight * loss.of_heads(heads, batch.label)
    total = mesh_lib.total(batch.weight.sum(), "loss")
    return losses.sum() / total, nets.statistics(net)

  with jax.named_scope(parts.CTR_NET):
    (mean, statistics), (net, ids, images) = jax.value_and_grad(
      mean_loss, argnums=(0, 1, 2), has_aux=True
    )(state.dense["net"], served.id_vectors, served.image_vectors)
  # Gradients go the vectors' way back; owners sum those of equal rows.
  images = images[:, : program.model.trained_width]  # The rest is frozen.
  layers = owners.pull_back(program, state, served, images)
  gradients = Gradients({"embed": layers, "net": net}, ids, images)
  return Found(mean, gradients, statistics)


def learn(
  program: Program, state: State, asked: route.Asked, found: Found
) -> tuple[State, Float[Array, ""]]:
  """The step from where gradients are known.

  Args:
    program: the step's fixed parts.
    state: before the step.
    asked: for the slice's ID rows.
    found: of this device.
  """
  made = work_out(program, state, asked, found)
  ok = is_sound(state, made)
  ids, id_slots = owners.write(
    program, state, asked, found.gradients.ids, made.rows, ok
  )
  with jax.named_scope(parts.DENSE_UPDATE):
    dense, dense_slots = guard.kept(
      ok, (made.dense, made.dense_slots), (state.dense, state.dense_slots)
    )
  state = state._replace(
    step=guard.number(ok, state.step),
    ids=ids,
    id_slots=id_slots,
    dense=dense,
    dense_slots=dense_slots,
  )
  with jax.named_scope(parts.CTR_NET):
    return state, guard.reported(ok, mesh_lib.total(found.loss, "loss"))


def work_out(
  program: Program, state: State, asked: route.Asked, found: Found
) -> Worked:
  """What a step comes to; arguments as of `learn`."""
  gradients = found.gradients
  rows = owners.touch(program, state, asked, gradients.ids)
  with jax.named_scope(parts.SPARSE_UPDATE):
    own = found.loss, gradients.ids, gradients.images
    finite = guard.is_finite(own) & optim.is_finite(rows, asked.rows)
  with jax.named_scope(parts.DENSE_UPDATE):
    # It rides along: dense gradients are summed anyway.
    dense, wrong = mesh_lib.total(
      (gradients.dense, 1.0 - finite), "dense.gradients"
    )
    updates, slots = program.dense.update(dense, state.dense_slots, state.dense)
    new: PyTree = optax.apply_updates(state.dense, updates)
  new = new | {"net": nets.with_statistics(new["net"], found.statistics)}
  summed = gradients._replace(dense=dense)
  return Worked(summed, new, slots, rows, wrong)


@jax.named_scope(parts.DENSE_UPDATE)
def is_sound(state: State, made: Worked) -> Bool[Array, ""]:
  """Whether the step may be written; equal on all devices."""
  dense = made.gradients.dense, made.dense, made.dense_slots
  return guard.goes_on(state.step) & (made.wrong == 0) & guard.is_finite(dense)


def make_train_step(program: Program, state: State) -> jax.stages.Wrapped:
  """Compiles (state, content, batch) -> (state, loss); donates the state."""
  specs = state_lib.specs_of(state)
  step = on_mesh.run(program, train_on_device, specs, (specs, P()))
  return jax.jit(step, donate_argnums=0)
