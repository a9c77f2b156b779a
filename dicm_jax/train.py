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
from jaxtyping import Array, Bool, Float, Int, PyTree
import optax

from dicm_jax import optim
from dicm_jax.model import embed, loss, nets
from dicm_jax.model import inputs as inputs_lib
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
  inputs: inputs_lib.Inputs


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

  def mean_loss(params, id_vectors, image_vectors):
    net = program.net(params)
    logits = net(id_vectors, image_vectors, batch.inputs)
    losses = batch.weight * loss.log_loss(logits, batch.label)
    total = _over_mesh(batch.weight.sum(), "loss")
    return losses.sum() / total, nets.statistics(net)

  (mean, statistics), (net, ids, images) = jax.value_and_grad(
    mean_loss, argnums=(0, 1, 2), has_aux=True
  )(state.dense["net"], served.id_vectors, served.image_vectors)
  # Gradients go the vectors' way back; owners sum those of equal rows.
  images = images[:, : program.model.trained_width]  # The rest is frozen.
  layers = _pull_back(program, state, served, images)
  dense = _over_mesh({"embed": layers, "net": net}, "dense.gradients")
  state = _update(program, state, served.ids, ids, dense)
  return _remember(state, statistics), _over_mesh(mean, "loss")


Read = Callable[[nets.Net, Array, Array, inputs_lib.Inputs], Array]
"""(net, id vectors, image vectors, inputs) -> something of each sample."""


def click_probability(
  net: nets.Net,
  ids: Float[Array, "U D"],
  images: Float[Array, "V E"],
  inputs: inputs_lib.Inputs,
) -> Float[Array, " b"]:
  """Probability of a click for each sample."""
  return jax.nn.sigmoid(net(ids, images, inputs))


def predict_on_device(
  program: Program, state: State, content: Content, batch: Batch, read: Read
) -> Float[Array, "b ..."]:
  """What `read` makes of each sample of one device; nothing is learned."""
  served = _request(program, state, content, batch)
  net = program.net(state.dense["net"])
  net.eval()
  return read(net, served.id_vectors, served.image_vectors, batch.inputs)


def is_sound_on_device(
  program: Program, state: State, content: Content, batch: Batch
) -> Bool[Array, ""]:
  """Whether a state and what it makes of a batch are finite, on all devices."""
  made = predict_on_device(program, state, content, batch, click_probability)
  leaves = jax.tree.leaves((state, made))
  finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()
  return _over_mesh((~finite).astype(jnp.int32), "check") == 0


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
      functools.partial(_answer, program, state.standard),
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
  """An owner's trained numbers for its images."""
  scaled = embed.standardise(standard, features)
  return program.embed_layers(params)(scaled)


def _answer(program: Program, standard, params, features):
  """The trained numbers, and beside them those of the frozen head."""
  trained = _embed(program, standard, params, features)
  scaled = embed.standardise(standard, features)
  return jnp.concatenate([trained, embed.frozen_head(standard, scaled)], 1)


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


def _remember(state: State, statistics) -> State:
  """What a net keeps of its batches besides what it learns: Dice's moments."""
  net = nets.with_statistics(state.dense["net"], statistics)
  return state._replace(dense=state.dense | {"net": net})


def _over_mesh(tree, scope: str):
  """Sums over all devices."""
  with jax.named_scope(scope):
    return jax.lax.psum(tree, mesh_lib.BOTH)


def state_specs(state: State) -> State:
  """How each leaf of a state lies on the mesh."""

  def slot(leaf):
    by_row = optim.is_by_row(leaf, state.ids)
    return mesh_lib.BATCH if by_row else mesh_lib.REPLICATED

  specs = jax.tree.map(lambda _: mesh_lib.REPLICATED, state)
  return specs._replace(
    ids=mesh_lib.BATCH, id_slots=jax.tree.map(slot, state.id_slots)
  )


def make_train_step(program: Program, state: State) -> jax.stages.Wrapped:
  """Compiles (state, content, batch) -> (state, loss); donates the state."""
  specs = state_specs(state)
  step = _on_mesh(program, train_on_device, specs, (specs, P()))
  return jax.jit(step, donate_argnums=0)


def make_predict_step(
  program: Program, state: State, read: Read = click_probability
) -> jax.stages.Wrapped:
  """Compiles (state, content, batch) -> [N, b, ...], what `read` returns."""

  def predict(program, state, content, batch):
    return predict_on_device(program, state, content, batch, read)[None]

  specs = state_specs(state)
  return jax.jit(_on_mesh(program, predict, specs, mesh_lib.BATCH))


def make_check(program: Program, state: State) -> jax.stages.Wrapped:
  """Compiles (state, content, batch) -> whether the state is of any use.

  Finite numbers are not enough: large ones overflow in the next step alone.
  """
  specs = state_specs(state)
  return jax.jit(_on_mesh(program, is_sound_on_device, specs, P()))


def _my_slice(batch) -> Batch:
  """This device's part of a batch, whose first axis is the device."""
  mine = jax.tree.map(lambda x: x[0], batch)

  def lists(name: str):
    return {k: inputs_lib.Lists(*v) for k, v in mine.inputs[name].items()}

  inputs = mine.inputs | {
    "user_ids": lists("user_ids"),
    "ad_lists": lists("ad_lists"),
    "behaviours": inputs_lib.Lists(*mine.inputs["behaviours"]),
    "image_pairs": inputs_lib.Pairs(*mine.inputs["image_pairs"]),
    "id_pairs": inputs_lib.Pairs(*mine.inputs["id_pairs"]),
  }
  return Batch(
    mine.id_rows,
    mine.image_rows,
    mine.label,
    mine.weight,
    inputs_lib.Inputs(**inputs),
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
