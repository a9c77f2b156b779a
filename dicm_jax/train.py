"""One training step: the Advanced Model Server's Algorithm 1 on a mesh.

Every device plays both parts in turn. As a worker it holds a slice of the
batch and knows row numbers only; as an owner it holds rows of the tables. A
step: read the batch, request its distinct rows, the owners embed, the CTR
network runs, the gradients go back, the owners update the rows touched.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, PyTree
import optax

from dicm_jax import optim
from dicm_jax.model import dicm, embed
from dicm_jax.program import Program
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import route, server, table


class State(NamedTuple):
  """All that training changes, and all that a checkpoint holds."""

  step: Int[Array, ""]
  ids: Float[Array, "buckets slots D"]
  """Stacked ID table."""
  id_slots: optax.OptState
  dense: dict[str, PyTree]
  """Parameters: `embed`, the owners' layers, and `net`, the CTR network."""
  dense_slots: optax.OptState
  standard: embed.Standard
  """Scaling of the frozen features; never changes."""


class Batch(NamedTuple):
  """One device's slice of a batch."""

  id_rows: Int[Array, " U"]
  """Distinct rows of the stacked ID table, EMPTY at the end."""
  image_rows: Int[Array, " V"]
  """Distinct rows of the image table, EMPTY at the end."""
  label: Float[Array, " b"]
  weight: Float[Array, " b"]
  """0 for padding, else 1."""
  inputs: dicm.Inputs


class Content(NamedTuple):
  """Frozen image rows: pixels with their encoder's weights, or features."""

  table: PyTree
  encoder: PyTree


class Served(NamedTuple):
  """What was asked of the owners, and what they answered."""

  ids: route.Asked
  images: route.Asked
  features: Callable[[route.Asked], server.ReadChunk]
  """Frozen features of the images of a round."""
  id_vectors: Float[Array, "U D"]
  image_vectors: Float[Array, "V E"]


def train_on_device(
  program: Program, state: State, content: Content, batch: Batch
) -> tuple[State, Float[Array, ""]]:
  """One device's part of a step; returns the new state and the mean loss."""
  served = _request(program, state, content, batch)

  def mean_loss(net, id_vectors, image_vectors):
    logits = _logits(program, net, id_vectors, image_vectors, batch)
    losses = batch.weight * dicm.log_loss(logits, batch.label)
    return losses.sum() / _over_mesh(batch.weight.sum(), "loss")

  loss, (net, ids, images) = jax.value_and_grad(mean_loss, argnums=(0, 1, 2))(
    state.dense["net"], served.id_vectors, served.image_vectors
  )
  # Gradients go the vectors' way back; owners sum those of equal rows.
  layers = _pull_back(program, state, served, images)
  dense = _over_mesh({"embed": layers, "net": net}, "dense.gradients")
  state = _update(program, state, served.ids, ids, dense)
  return state, _over_mesh(loss, "loss")


def predict_on_device(
  program: Program, state: State, content: Content, batch: Batch
) -> Float[Array, " b"]:
  """Probability of a click for each sample of one device."""
  served = _request(program, state, content, batch)
  logits = _logits(
    program,
    state.dense["net"],
    served.id_vectors,
    served.image_vectors,
    batch,
  )
  return jax.nn.sigmoid(logits)


def _request(
  program: Program, state: State, content: Content, batch: Batch
) -> Served:
  """Asks the owners for the slice's rows; they look up, embed and answer."""
  ids = route.ask(program.id_route, batch.id_rows)
  images = route.ask(program.image_route, batch.image_rows)
  features = _frozen_features(program, content, images)

  def look_up(asked):
    return table.read(state.ids, asked.rows)

  def embed_images(asked):
    return server.embed(
      functools.partial(_embed, program, state.standard),
      state.dense["embed"],
      features(asked),
      asked.num_rows,
      capacity=asked.rows.size,
      width=program.model.image_vector,
      chunk=_chunk(program, asked),
    )

  return Served(
    ids,
    images,
    features,
    id_vectors=route.deliver(program.id_route, ids, look_up),
    image_vectors=route.deliver(program.image_route, images, embed_images),
  )


def _pull_back(program: Program, state: State, served: Served, gradients):
  """Gradient of the embedding layers, by the images this owner served."""

  def add(total, asked, of_images):
    part = server.pull_back(
      functools.partial(_embed, program, state.standard),
      state.dense["embed"],
      served.features(asked),
      asked.num_rows,
      of_images,
      chunk=_chunk(program, asked),
    )
    return jax.tree.map(jnp.add, total, part)

  zeros = jax.tree.map(jnp.zeros_like, state.dense["embed"])
  return route.collect(
    program.image_route, served.images, gradients, add, zeros
  )


def _frozen_features(program: Program, content: Content, first: route.Asked):
  """Features of a round's images; of the first round kept, not made twice."""

  def features(asked):
    if program.backbone is None:
      return server.stored_features(
        content.table, asked.rows, chunk=_chunk(program, asked)
      )
    return server.encoded_features(
      content.table,
      asked.rows,
      asked.num_rows,
      encode=functools.partial(program.backbone.apply, content.encoder),
      width=program.backbone.width,
      chunk=_chunk(program, asked),
    )

  kept = features(first)
  return lambda asked: kept if asked is first else features(asked)


def _chunk(program: Program, asked: route.Asked) -> int:
  """Images embedded at a time: no more than the round has room for."""
  return min(program.image_chunk, asked.rows.size)


def _embed(program: Program, standard, params, features):
  scaled = embed.standardise(standard, features)
  return program.embed_layers(params)(scaled)


def _logits(program: Program, params, id_vectors, image_vectors, batch):
  return program.net(params)(id_vectors, image_vectors, batch.inputs)


def _update(program: Program, state: State, asked, id_gradients, gradients):
  """Touched rows by the sparse optimiser, all else by the dense one."""

  def update(tables, asked, of_rows):
    ids, slots = tables
    return optim.update_rows(
      program.sparse, ids, slots, asked.rows, of_rows, before=state.id_slots
    )

  ids, id_slots = route.collect(
    program.id_route, asked, id_gradients, update, (state.ids, state.id_slots)
  )
  updates, dense_slots = program.dense.update(
    gradients, state.dense_slots, state.dense
  )
  return state._replace(
    step=state.step + 1,
    ids=ids,
    id_slots=id_slots,
    dense=optax.apply_updates(state.dense, updates),
    dense_slots=dense_slots,
  )


def _over_mesh(tree, scope: str):
  """Sums over all devices."""
  with jax.named_scope(scope):
    return jax.lax.psum(tree, mesh_lib.BOTH)


def state_specs(state: State) -> State:
  """How each leaf of a state lies on the mesh."""

  def slot(leaf):
    same = leaf.shape == state.ids.shape
    return mesh_lib.BATCH if same else mesh_lib.REPLICATED

  specs = jax.tree.map(lambda _: mesh_lib.REPLICATED, state)
  return specs._replace(
    ids=mesh_lib.BATCH, id_slots=jax.tree.map(slot, state.id_slots)
  )


def make_train_step(program: Program, state: State) -> jax.stages.Wrapped:
  """Compiles (state, content, batch) -> (state, loss); donates the state."""
  specs = state_specs(state)
  step = _on_mesh(program, train_on_device, specs, (specs, P()))
  return jax.jit(step, donate_argnums=0)


def make_predict_step(program: Program, state: State) -> jax.stages.Wrapped:
  """Compiles (state, content, batch) -> probabilities [N, b]."""

  def predict(program, state, content, batch):
    return predict_on_device(program, state, content, batch)[None]

  specs = state_specs(state)
  return jax.jit(_on_mesh(program, predict, specs, mesh_lib.BATCH))


def _my_slice(batch) -> Batch:
  """This device's part of a batch, whose first axis is the device."""
  mine = jax.tree.map(lambda x: x[0], batch)

  def lists(name: str):
    return {k: dicm.Lists(*v) for k, v in mine.inputs[name].items()}

  inputs = mine.inputs | {
    "user_ids": lists("user_ids"),
    "ad_lists": lists("ad_lists"),
    "behaviours": dicm.Lists(*mine.inputs["behaviours"]),
  }
  return Batch(
    mine.id_rows,
    mine.image_rows,
    mine.label,
    mine.weight,
    dicm.Inputs(**inputs),
  )


def _on_mesh(program: Program, body, state_spec: State, out_specs):
  """Runs `body` on every device with its slice of the batch."""

  def on_device(state, content, batch):
    return body(program, state, content, _my_slice(batch))

  return jax.shard_map(
    on_device,
    mesh=program.mesh,
    in_specs=(
      state_spec,
      Content(mesh_lib.CONTENT, mesh_lib.REPLICATED),
      mesh_lib.BATCH,
    ),
    out_specs=out_specs,
    check_vma=False,
  )
