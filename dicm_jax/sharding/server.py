"""The model server's half of a step: embed content where it lies.

The owner of some content rows turns them into short vectors by a frozen
encoder, where they have one, and trainable layers (Algorithm 1 of the DICM
paper, steps 3 and 5). It works in chunks, as many as its true number of rows
needs, so that padding costs no work.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float, Int, PyTree, Shaped

from dicm_jax.sharding import table

ReadChunk = Callable[[jax.Array], Shaped[jax.Array, "chunk F"]]
"""Gives what the trainable layers take of rows [start, start + chunk) of those
served: frozen features, or tokens."""
Embed = Callable[[PyTree, Shaped[jax.Array, "chunk F"]], jax.Array]


def _num_chunks(count, chunk: int):
  return -(-count // chunk)


def padded(rows: Int[jax.Array, " K"], chunk: int) -> Int[jax.Array, " K2"]:
  """Lengthens rows with EMPTY to whole chunks."""
  return jnp.pad(rows, (0, -rows.size % chunk), constant_values=table.EMPTY)


def stored_rows(
  shard: Shaped[jax.Array, "buckets slots F"],
  rows: Int[jax.Array, " K"],
  *,
  chunk: int,
) -> ReadChunk:
  """What the table itself holds, as it is: read when it is needed."""
  rows = padded(rows, chunk)

  def read_chunk(start):
    wanted = jax.lax.dynamic_slice_in_dim(rows, start, chunk)
    return table.read(shard, wanted)

  return read_chunk


def encoded(
  shard: Shaped[jax.Array, "buckets slots *content"],
  rows: Int[jax.Array, " K"],
  count: Int[jax.Array, ""],
  *,
  encode: Callable[[jax.Array], Float[jax.Array, "chunk F"]],
  width: int,
  dtype: DTypeLike,
  chunk: int,
) -> Float[jax.Array, "K2 F"]:
  """Features of raw content, in whole chunks.

  Args:
    shard: the content.
    rows: those served, EMPTY at the end.
    count: how many they are.
    encode: the frozen encoder.
    width: F, numbers that it makes of a row.
    dtype: in which those are kept.
    chunk: rows encoded at a time.
  """
  rows = padded(rows, chunk)

  def encode_chunk(i, features):
    wanted = jax.lax.dynamic_slice_in_dim(rows, i * chunk, chunk)
    out = encode(table.read(shard, wanted)).astype(features.dtype)
    return jax.lax.dynamic_update_slice_in_dim(features, out, i * chunk, 0)

  return jax.lax.fori_loop(
    0,
    _num_chunks(count, chunk),
    encode_chunk,
    jnp.zeros((rows.size, width), dtype),
  )


def made_rows(features: Float[jax.Array, "K2 F"], *, chunk: int) -> ReadChunk:
  """What `encoded` made, kept for the backward pass."""
  return lambda start: jax.lax.dynamic_slice_in_dim(features, start, chunk)


def embed(
  apply: Embed,
  params: PyTree,
  read_chunk: ReadChunk,
  count: Int[jax.Array, ""],
  *,
  capacity: int,
  width: int,
  chunk: int,
) -> Float[jax.Array, "capacity D"]:
  """Vectors of the rows served; rows past `count` hold no meaning.

  Args:
    apply: the trainable layers, `apply(params, rows) -> vectors`.
    params: their parameters.
    read_chunk: gives what they take.
    count: number of rows served.
    capacity: room for rows, >= count.
    width: D, width of a vector.
    chunk: rows embedded at a time.
  """

  def embed_chunk(i, vectors):
    out = apply(params, read_chunk(i * chunk))
    return jax.lax.dynamic_update_slice_in_dim(vectors, out, i * chunk, 0)

  room = -(-capacity // chunk) * chunk
  vectors = jnp.zeros((room, width), jnp.float32)
  chunks = _num_chunks(count, chunk)
  return jax.lax.fori_loop(0, chunks, embed_chunk, vectors)[:capacity]


def pull_back(
  apply: Embed,
  params: PyTree,
  read_chunk: ReadChunk,
  count: Int[jax.Array, ""],
  gradients: Float[jax.Array, "capacity D"],
  *,
  chunk: int,
) -> PyTree:
  """Gradient of the trainable layers' parameters, by this owner's rows.

  The forward pass of a chunk is made anew: cheaper than holding every hidden
  layer of every chunk.
  """
  gradients = jnp.pad(gradients, ((0, -len(gradients) % chunk), (0, 0)))

  def add_chunk(i, total):
    rows = read_chunk(i * chunk)
    _, pull = jax.vjp(lambda p: apply(p, rows), params)
    of_chunk = jax.lax.dynamic_slice_in_dim(gradients, i * chunk, chunk)
    return jax.tree.map(jnp.add, total, pull(of_chunk)[0])

  zeros = jax.tree.map(jnp.zeros_like, params)
  return jax.lax.fori_loop(0, _num_chunks(count, chunk), add_chunk, zeros)
