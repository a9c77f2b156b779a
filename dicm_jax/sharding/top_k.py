"""Exact nearest neighbours by inner products, over all devices of a mesh.

The vectors lie in blocks of rows, one on each device. Queries go to every
device, some at a time; each device takes the k best of its rows, these
candidates are gathered, and the k best of them are the k best of all.
Source: "Billion-scale similarity search with GPUs",
https://arxiv.org/abs/1702.08734, section 5.4 (sharding).
"""

from collections.abc import Iterator
import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int
import numpy as np

from dicm_jax import errors
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import table

SIMILARITIES = ("cosine", "inner")
SCORE_BYTES = 64 << 20
"""Scores that a device holds at a time: decides how many queries go at once."""


class Found(NamedTuple):
  """The best rows for each query."""

  rows: Int[np.ndarray, "Q k"]
  """Best first, of equal scores the lower row; EMPTY where none is left."""
  scores: Float[np.ndarray, "Q k"]
  """-inf where no row is left."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Items:
  """Vectors laid over a mesh."""

  mesh: Mesh
  vectors: jax.Array
  """[rows of all devices, D]; zeros follow the last true row."""
  count: int
  """True rows."""
  similarity: str
  """cosine: vectors have length 1, and so will queries; inner: as given."""


def place(
  mesh: Mesh, vectors: Float[np.ndarray, "R D"], similarity: str = "cosine"
) -> Items:
  """Lays vectors over all devices, the same number of rows on each.

  Raises:
    InputError: unknown similarity.
  """
  check_similarity(similarity)
  if similarity == "cosine":
    vectors = unit(vectors)
  pad = -len(vectors) % mesh.size
  padded = np.pad(vectors.astype(np.float32, copy=False), ((0, pad), (0, 0)))
  return Items(
    mesh=mesh,
    vectors=mesh_lib.put(mesh, mesh_lib.BATCH, padded),
    count=len(vectors),
    similarity=similarity,
  )


def search(
  items: Items,
  queries: Float[np.ndarray, "Q D"],
  k: int,
  *,
  excluded: Int[np.ndarray, "Q X"] | None = None,
  chunk: int | None = None,
) -> Found:
  """The k rows of the largest similarity, exact but for rounding to float32.

  Args:
    items: the rows, see `place`.
    queries: of the items' width.
    k: from 1 to the number of items.
    excluded: rows that each query must not find; EMPTY: none.
    chunk: queries at a time; None: as many as SCORE_BYTES allow.

  Raises:
    InputError: k is out of its range, or the widths differ.
  """
  check(queries, k, count=items.count, width=items.vectors.shape[1])
  if items.similarity == "cosine":
    queries = unit(queries)
  if excluded is None:
    excluded = np.zeros((len(queries), 0), np.int32)
  if chunk is None:
    rows = items.vectors.shape[0] // items.mesh.size
    chunk = max(1, min(len(queries), SCORE_BYTES // (4 * rows)))
  parts = [
    _best(items.mesh, items.count, k, items.vectors, *part)
    for part in _chunks(items.mesh, queries, excluded, chunk)
  ]
  empty = (np.zeros((0, k), np.int32), np.zeros((0, k), np.float32))
  rows, scores = zip(empty, *(map(np.asarray, p) for p in parts), strict=True)
  count = len(queries)
  return Found(np.concatenate(rows)[:count], np.concatenate(scores)[:count])


def _chunks(mesh: Mesh, queries, excluded, size: int) -> Iterator[tuple]:
  """Both in blocks of one size on every device, the last one padded."""
  for start in range(0, len(queries), size):
    short = max(0, start + size - len(queries))
    part = np.pad(queries[start : start + size], ((0, short), (0, 0)))
    out = excluded[start : start + size].astype(np.int32)
    out = np.pad(out, ((0, short), (0, 0)), constant_values=table.EMPTY)
    yield tuple(
      mesh_lib.put(mesh, mesh_lib.REPLICATED, a)
      for a in (part.astype(np.float32), out)
    )


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _best(mesh: Mesh, count: int, k: int, vectors, queries, excluded):
  return jax.shard_map(
    functools.partial(_best_on_device, count=count, k=k),
    mesh=mesh,
    in_specs=(mesh_lib.BATCH, mesh_lib.REPLICATED, mesh_lib.REPLICATED),
    out_specs=mesh_lib.REPLICATED,
    # Every device ends with the same, which shard_map cannot know.
    check_vma=False,
  )(vectors, queries, excluded)


def _best_on_device(
  vectors: Float[Array, "r D"],
  queries: Float[Array, "c D"],
  excluded: Int[Array, "c X"],
  *,
  count: int,
  k: int,
) -> tuple[Int[Array, "c k"], Float[Array, "c k"]]:
  """Rows and scores over all devices, from the r rows of each."""
  size = len(vectors)
  first = jax.lax.axis_index(mesh_lib.BOTH) * size
  # The accelerators' default would round the factors to 10 bits or fewer.
  exact = jax.lax.Precision.HIGHEST
  scores = jnp.matmul(queries, vectors.T, precision=exact)
  scores = jnp.where(scores == 0, 0.0, scores)  # To top_k, -0.0 < 0.0.
  true = first + jnp.arange(size) < count
  scores = jnp.where(true[None, :], scores, -jnp.inf)
  inside = (excluded >= first) & (excluded < first + size)
  place = jnp.where(inside, excluded - first, size)  # Out of range: dropped.
  query = jnp.arange(len(queries))[:, None]
  scores = scores.at[query, place].set(-jnp.inf, mode="drop")
  # Of equal numbers top_k takes the first, and devices come in order of rows.
  best, at = jax.lax.top_k(scores, min(k, size))
  best, rows = jax.lax.all_gather(
    (best, first + at), mesh_lib.BOTH, axis=1, tiled=True
  )
  best, at = jax.lax.top_k(best, k)
  rows = jnp.take_along_axis(rows, at, axis=1)
  return jnp.where(best == -jnp.inf, table.EMPTY, rows), best


def check_similarity(name: str) -> None:
  """Raises InputError where there is no such similarity."""
  if name not in SIMILARITIES:
    raise errors.unknown_name("similarity", name, SIMILARITIES)


def check(
  queries: Float[np.ndarray, "Q D"], k: int, *, count: int, width: int
) -> None:
  """Raises InputError where queries or k do not fit the items."""
  if not 1 <= k <= count:
    raise errors.InputError(
      f"k: expected 1 to {count}, the number of items; found {k}"
    )
  if queries.shape[1] != width:
    raise errors.InputError(
      f"queries: expected vectors of {width} numbers, as the items have; found "
      f"{queries.shape[1]}"
    )


def unit(vectors: Float[np.ndarray, "R D"]) -> Float[np.ndarray, "R D"]:
  """The vectors at length 1, as float32; zeros stay zeros."""
  squares = np.einsum("rd,rd->r", vectors, vectors, dtype=np.float64)
  length = np.sqrt(squares)[:, None]
  return (vectors / np.where(length > 0, length, 1)).astype(np.float32)


def without(found: Found, excluded: Int[np.ndarray, "Q X"], k: int) -> Found:
  """The first k of each list that are not excluded; EMPTY follows them.

  >>> found = Found(np.array([[4, 2, 7]]), np.array([[3.0, 2.0, 1.0]]))
  >>> without(found, np.array([[2, table.EMPTY]]), 2).rows.tolist()
  [[4, 7]]
  """
  out = (found.rows[:, :, None] == excluded[:, None, :]).any(axis=2)
  order = np.argsort(out, axis=1, kind="stable")[:, :k]
  rows = np.where(out, table.EMPTY, found.rows)
  scores = np.where(out, -np.inf, found.scores)
  return Found(
    np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1)
  )
