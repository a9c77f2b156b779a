"""The owners' part of a step: they look up, embed, answer, and update."""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import optax

from dicm_jax import optim
from dicm_jax.model import embed
from dicm_jax.program import Program
from dicm_jax.sharding import route, server, table
from dicm_jax.state import Batch, Content, State


class Served(NamedTuple):
  """What was asked of the owners, and what they answered."""

  ids: route.Asked
  images: route.Asked
  features: Callable[[route.Asked], server.ReadChunk]
  """Frozen features of the images of a round."""
  id_vectors: Float[Array, "U D"]
  image_vectors: Float[Array, "V E"]


def request(
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


def pull_back(program: Program, state: State, served: Served, gradients):
  """Gradient of the embedding layers, by the images this owner served."""
  zeros = jax.tree.map(jnp.zeros_like, state.dense["embed"])
  if not program.model.trained_width:  # Nobody learns: nothing travels.
    return zeros

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
  frozen = embed.frozen_head(program.model, standard, features)
  return jnp.concatenate([trained, frozen], 1)


def update(
  program: Program, state: State, asked: route.Asked, gradients
) -> tuple[Float[Array, "buckets slots D"], optax.OptState]:
  """Runs the sparse optimiser on the rows touched; returns rows and slots."""

  def update_rows(tables, asked, of_rows):
    ids, slots = tables
    return optim.update_rows(
      program.sparse, ids, slots, asked.rows, of_rows, before=state.id_slots
    )

  tables = (state.ids, state.id_slots)
  return route.collect(program.id_route, asked, gradients, update_rows, tables)
