"""One training step: the Advanced Model Server's Algorithm 1 on a mesh.

Every device plays both parts in turn. As a worker it holds a slice of the
batch and knows row numbers only; as an owner it holds rows of the tables. A
step: read the batch, request its distinct rows, the owners embed, the CTR
network runs, the gradients go back, the owners update the rows touched.
"""

import jax
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, PyTree
import optax

from dicm_jax import on_mesh, owners
from dicm_jax import state as state_lib
from dicm_jax.model import loss, nets
from dicm_jax.profiling import parts
from dicm_jax.program import Program
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.state import Batch, Content, State


def train_on_device(
  program: Program, state: State, content: Content, batch: Batch
) -> tuple[State, Float[Array, ""]]:
  """One device's part of a step; returns the new state and the mean loss."""
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
  with jax.named_scope(parts.DENSE_UPDATE):
    dense = mesh_lib.total({"embed": layers, "net": net}, "dense.gradients")
  ids, id_slots = owners.update(program, state, asked.ids, ids)
  state = state._replace(step=state.step + 1, ids=ids, id_slots=id_slots)
  state = _update_dense(program, state, dense, statistics)
  with jax.named_scope(parts.CTR_NET):
    return state, mesh_lib.total(mean, "loss")


@jax.named_scope(parts.DENSE_UPDATE)
def _update_dense(program: Program, state: State, gradients, statistics):
  """Learns from the gradients; keeps what a net counts besides (Dice)."""
  updates, slots = program.dense.update(
    gradients, state.dense_slots, state.dense
  )
  dense: PyTree = optax.apply_updates(state.dense, updates)
  net = nets.with_statistics(dense["net"], statistics)
  return state._replace(dense=dense | {"net": net}, dense_slots=slots)


def make_train_step(program: Program, state: State) -> jax.stages.Wrapped:
  """Compiles (state, content, batch) -> (state, loss); donates the state."""
  specs = state_lib.specs_of(state)
  step = on_mesh.run(program, train_on_device, specs, (specs, P()))
  return jax.jit(step, donate_argnums=0)
