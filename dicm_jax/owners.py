"""The owners' part of a step: they look up, embed, answer, and update."""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
import optax

from dicm_jax import optim
from dicm_jax.model import embed
from dicm_jax.profiling import parts
from dicm_jax.program import Program
from dicm_jax.sharding import route, server, table
from dicm_jax.state import Batch, Content, State


class Asked(NamedTuple):
  """What a slice asks of the owners; it depends on nothing that is learned."""

  ids: route.Asked
  images: route.Asked
  features: Float[Array, "K F"] | None
  """Of the images served in the first round; None: the table holds what the
  layers take, and it is read when it is needed."""


class Served(NamedTuple):
  """What was asked of the owners, and what they answered."""

  asked: Asked
  content: Callable[[route.Asked], server.ReadChunk]
  """What the embedding layers take of a round's images."""
  id_vectors: Float[Array, "U D"]
  image_vectors: Float[Array, "V E"]


@jax.named_scope(parts.ROUTING)
def ask(program: Program, content: Content, batch: Batch) -> Asked:
  """Asks the owners for the slice's rows; frozen encoders set to work."""
  ids = route.ask(program.id_route, batch.id_rows)
  images = route.ask(program.image_route, batch.image_rows)
  return Asked(ids, images, _encoded(program, content, images))


@jax.named_scope(parts.ROUTING)
def answer(
  program: Program, state: State, content: Content, asked: Asked
) -> Served:
  """The owners look up and embed what was asked for, and send it back."""
  of_round = _content_of_round(program, content, asked)

  def look_up(asked):
    return table.read(state.ids, asked.rows)

  @jax.named_scope(parts.LAYERS)
  def embed_images(asked):
    return server.embed(
      functools.partial(_answer, program, state.standard),
      state.dense["embed"],
      of_round(asked),
      asked.num_rows,
      capacity=asked.rows.size,
      width=program.model.image_vector,
      chunk=_chunk(program, asked),
    )

  return Served(
    asked,
    of_round,
    id_vectors=route.deliver(program.id_route, asked.ids, look_up),
    image_vectors=route.deliver(
      program.image_route, asked.images, embed_images
    ),
  )


@jax.named_scope(parts.ROUTING)
def pull_back(program: Program, state: State, served: Served, gradients):
  """Gradient of the embedding layers, by the images this owner served."""
  zeros = jax.tree.map(jnp.zeros_like, state.dense["embed"])
  if not program.model.trained_width:  # Nobody learns: nothing travels.
    return zeros

  @jax.named_scope(parts.LAYERS)
  def add(total, asked, of_images):
    part = server.pull_back(
      functools.partial(_embed, program, state.standard),
      state.dense["embed"],
      served.content(asked),
      asked.num_rows,
      of_images,
      chunk=_chunk(program, asked),
    )
    return jax.tree.map(jnp.add, total, part)

  return route.collect(
    program.image_route, served.asked.images, gradients, add, zeros
  )


def _content_of_round(program: Program, content: Content, asked: Asked):
  """What the layers take of a round; of the first kept, not made twice."""

  def of_round(found):
    chunk = _chunk(program, found)
    made = asked.features if found is asked.images else None
    if made is None:
      made = _encoded(program, content, found)
    if made is None:
      return server.stored_rows(content.table, found.rows, chunk=chunk)
    return server.made_rows(made, chunk=chunk)

  return of_round


@jax.named_scope(parts.FROZEN)
def _encoded(program: Program, content: Content, asked: route.Asked):
  """A frozen encoder's features of the images served in a round, if any."""
  if program.backbone is None:
    return None
  return server.encoded(
    content.table,
    asked.rows,
    asked.num_rows,
    encode=functools.partial(program.backbone.apply, content.encoder),
    width=program.backbone.width,
    dtype=program.backbone.dtype,
    chunk=_chunk(program, asked),
  )


def _chunk(program: Program, asked: route.Asked) -> int:
  """Images embedded at a time: no more than the round has room for."""
  return min(program.image_chunk, asked.rows.size)


def _embed(program: Program, standard, params, rows):
  """An owner's trained numbers for its images."""
  return program.embed_layers(params)(embed.taken(standard, rows))


def _answer(program: Program, standard, params, rows):
  """The trained numbers, and beside them those of the frozen head."""
  trained = _embed(program, standard, params, rows)
  with jax.named_scope(parts.FROZEN):
    frozen = embed.frozen_head(program.model, standard, rows)
  return jnp.concatenate([trained, frozen], 1)


@jax.named_scope(parts.ROUTING)
def touch(
  program: Program, state: State, asked: route.Asked, gradients
) -> optim.Touched:
  """What the sparse optimiser makes of the rows of the first round."""
  of_rows = route.collect_round(program.id_route, asked, gradients)
  with jax.named_scope(parts.SPARSE_UPDATE):
    return optim.touch_rows(
      program.sparse, state.ids, state.id_slots, asked.rows, of_rows
    )


@jax.named_scope(parts.ROUTING)
def write(
  program: Program,
  state: State,
  asked: route.Asked,
  gradients,
  touched: optim.Touched,
  ok: Bool[Array, ""],
) -> tuple[Float[Array, "buckets slots D"], optax.OptState]:
  """Writes them, and updates the rows of further rounds.

  Args:
    program: the step's fixed parts.
    state: before the step.
    asked: the first round.
    gradients: of this device's rows.
    touched: what `touch` made of the first round's.
    ok: if False, nothing changes.

  Returns:
    The new rows and slots.
  """

  @jax.named_scope(parts.SPARSE_UPDATE)
  def update_rows(tables, asked, of_rows):
    ids, slots = tables
    return optim.update_rows(
      program.sparse,
      ids,
      slots,
      asked.rows,
      of_rows,
      before=state.id_slots,
      ok=ok,
    )

  with jax.named_scope(parts.SPARSE_UPDATE):
    tables = optim.write_rows(
      state.ids, state.id_slots, asked.rows, touched, ok
    )
  return route.collect_further(
    program.id_route, asked, gradients, update_rows, tables
  )
