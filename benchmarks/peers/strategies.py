"""The two older ways to train with images, on our own exchange.

Table 2 of the DICM paper (https://arxiv.org/abs/1711.06505) compares three:

- PS-worker: images lie with the samples. A batch brings the features of every
  behaviour of every group and of every ad; nothing of images travels, and
  nothing is counted once.
- PS-server: images lie on the servers, once. Their features travel to the
  workers, as parameters do, and the workers run the image layers.
- Advanced Model Server: ours, in `dicm_jax.train`.

All three keep the common-feature grouping and have the same losses.
"""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp
import numpy as np

from dicm_jax import experiment, on_mesh, train
from dicm_jax import state as state_lib
from dicm_jax.data import batch as batch_lib
from dicm_jax.model import embed, loss, nets
from dicm_jax.program import Program
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import route, server, table
from dicm_jax.state import Batch, Content, State


def ps_server(program: Program, state: State, content: Content, batch: Batch):
  """One device's part of a step; as `train.train_on_device`."""
  images = route.ask(program.image_route, batch.image_rows)
  features = route.deliver(
    program.image_route,
    images,
    lambda asked: table.read(content.table, asked.rows),
  )
  count = jnp.sum(batch.image_rows != route.EMPTY)
  return _learn(program, state, batch, features, count)


def ps_worker(program: Program, state: State, content: Content, batch: Batch):
  """As `ps_server`; the batch is of `with_features`."""
  del content
  count = len(batch.label) + batch.inputs.history_length.sum()
  return _learn(program, state, batch, batch.image_rows, count)


def _learn(program: Program, state: State, batch: Batch, features, count):
  """All that follows once a worker has its images' features."""
  ids = route.ask(program.id_route, batch.id_rows)
  id_vectors = route.deliver(
    program.id_route, ids, lambda asked: table.read(state.ids, asked.rows)
  )
  params = state.dense["embed"]
  layers = functools.partial(_embed, program, state.standard)
  chunk = min(program.image_chunk, len(features))
  read = _chunks_of(features, chunk)
  images = server.embed(
    layers,
    params,
    read,
    count,
    capacity=len(features),
    width=program.model.image_vector,
    chunk=chunk,
  )

  def mean_loss(params, id_vectors, images):
    heads = nets.heads(program.net(params), id_vectors, images, batch.inputs)
    losses = batch.weight * loss.of_heads(heads, batch.label)
    return losses.sum() / mesh_lib.total(batch.weight.sum(), "loss")

  mean, (net, of_ids, of_images) = jax.value_and_grad(
    mean_loss, argnums=(0, 1, 2)
  )(state.dense["net"], id_vectors, images)
  of_layers = server.pull_back(
    layers, params, read, count, of_images, chunk=chunk
  )
  dense = {"embed": of_layers, "net": net}
  gradients = train.Gradients(dense, of_ids, of_images)
  return train.learn(program, state, ids, train.Found(mean, gradients, {}))


def _embed(program: Program, standard: embed.Standard, params, features):
  scaled = embed.standardise(standard, features)
  return program.embed_layers(params)(scaled)


def _chunks_of(features, chunk: int) -> server.ReadChunk:
  padded = jnp.pad(features, ((0, -len(features) % chunk), (0, 0)))
  return lambda start: jax.lax.dynamic_slice_in_dim(padded, start, chunk)


def with_features(
  x: experiment.Experiment, batch: batch_lib.Batch
) -> batch_lib.Batch:
  """A batch as PS-worker stores it.

  `image_rows` holds the features themselves, [N, b + P, F]: those of the ads,
  then those of all groups' behaviours, then padding to whole chunks. The inputs
  point at them.
  """
  stored = x.data.frozen("")
  ad = batch.inputs["ad_image"]
  place, owner, weight = batch.inputs["behaviours"]
  rows = np.take_along_axis(batch.image_rows, np.hstack([ad, place]), 1)
  numbers = np.broadcast_to(
    np.arange(rows.shape[1], dtype=np.int32), rows.shape
  )
  of_ads, of_behaviours = np.split(numbers, [ad.shape[1]], 1)
  inputs = batch.inputs | {
    "ad_image": of_ads,
    "behaviours": (of_behaviours, owner, weight),
  }
  short = -rows.shape[1] % x.program.image_chunk
  rows = np.pad(rows, ((0, 0), (0, short)))
  return batch._replace(image_rows=stored[rows], inputs=inputs)


STRATEGIES: dict[str, Callable] = {
  "AMS": train.train_on_device,
  "PS-server": ps_server,
  "PS-worker": ps_worker,
}


def make_step(name: str, x: experiment.Experiment):
  """Compiles (state, content, batch) -> (state, loss); donates the state."""
  specs = state_lib.specs_of(x.state)
  step = on_mesh.run(
    x.program, STRATEGIES[name], specs, (specs, mesh_lib.REPLICATED)
  )
  return jax.jit(step, donate_argnums=0)


def batch_of(name: str, x: experiment.Experiment, batch: batch_lib.Batch):
  """The batch as the strategy stores it, on the host."""
  return with_features(x, batch) if name == "PS-worker" else batch
