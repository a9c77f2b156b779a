"""Items by similarity: to an item, to a user's behaviour, to query vectors.

Serving of a CNN's embeddings as an online shop does it: an item page asks with
its item, a user page with the user's behaviour, a search page with the query's
own vector, and all of them look among the items' vectors.
"""

from collections.abc import Callable, Sequence
import dataclasses
import difflib
import functools
from typing import Any

from jax.sharding import Mesh
from jaxtyping import Float, Int
import numpy as np

from dicm_jax import errors, hnsw
from dicm_jax.data import click_log, vectors
from dicm_jax.sharding import table, top_k


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Catalogue:
  """Items that can be searched."""

  items: vectors.Vectors
  search: Callable[..., top_k.Found]
  """As `top_k.search` without its first argument."""
  similarity: str
  """Of top_k.SIMILARITIES."""
  index: str
  """exact, or the library of an approximate index."""


def exact(
  items: vectors.Vectors, mesh: Mesh, similarity: str = "cosine"
) -> Catalogue:
  """A catalogue that compares with every item, on all devices of a mesh.

  Raises:
    InputError: unknown similarity.
  """
  placed = top_k.place(mesh, items.values, similarity)
  return Catalogue(
    items=items,
    search=functools.partial(top_k.search, placed),
    similarity=similarity,
    index="exact",
  )


def approximate(items: vectors.Vectors, built: hnsw.Items) -> Catalogue:
  """A catalogue that walks a graph built of the items' vectors."""
  return Catalogue(
    items=items,
    search=functools.partial(hnsw.search, built),
    similarity=built.similarity,
    index=built.library,
  )


def like_items(
  catalogue: Catalogue, rows: Int[np.ndarray, " Q"], k: int
) -> top_k.Found:
  """Items like other items of the catalogue, each without itself.

  Raises:
    InputError: k is not from 1 to the number of items.
  """
  queries = catalogue.items.values[rows]
  return catalogue.search(queries, k, excluded=rows[:, None])


def like_behaviours(
  catalogue: Catalogue, past: click_log.Jagged, k: int, *, exclude_seen: bool
) -> top_k.Found:
  """Items like what users have clicked.

  Args:
    catalogue: the items.
    past: rows of the catalogue, a list for each of Q users.
    k: items for each.
    exclude_seen: whether what a user has clicked is not found again.

  Raises:
    InputError: k is not from 1 to the number of items.
  """
  excluded = padded(past) if exclude_seen else None
  queries = pool(catalogue.items.values, past)
  return catalogue.search(queries, k, excluded=excluded)


def like_vectors(
  catalogue: Catalogue, queries: vectors.Vectors, k: int
) -> top_k.Found:
  """Items like vectors of another table, e.g. of search queries.

  Raises:
    InputError: their widths differ, or k is not from 1 to the number of items.
  """
  return catalogue.search(queries.values, k)


def pool(
  values: Float[np.ndarray, "R D"], past: click_log.Jagged
) -> Float[np.ndarray, "Q D"]:
  """Mean of the vectors of each list of rows, each taken at length 1.

  So no past item counts more for its vector's length. Zeros for an empty list.
  """
  sums = np.zeros((len(past.lengths), values.shape[1]), np.float32)
  filled = past.lengths > 0
  if filled.any():
    unit = top_k.unit(values[past.values])
    starts = past.offsets[:-1][filled]
    sums[filled] = np.add.reduceat(unit, starts, axis=0)
  return sums / np.maximum(past.lengths, 1)[:, None].astype(np.float32)


def padded(lists: click_log.Jagged) -> Int[np.ndarray, "Q X"]:
  """The lists as rows of the longest one's width, EMPTY at their ends."""
  lengths = lists.lengths
  out = np.full((len(lengths), lengths.max(initial=0)), table.EMPTY, np.int32)
  out[np.arange(out.shape[1]) < lengths[:, None]] = lists.values
  return out


def row_of(items: vectors.Vectors, key: str, flag: str) -> int:
  """Row of an item.

  Args:
    items: the catalogue's.
    key: of the item.
    flag: by which it was named, for the message.

  Raises:
    InputError: there is no such item; the message names some that are near.
  """
  if key not in items.keys:
    raise no_such(flag, key, items.keys, "the items")
  return items.keys.index(key)


def no_such(
  flag: str, key: str, known: Sequence[str], where: str
) -> errors.InputError:
  """Says that a key is unknown, and which known ones are near."""
  # Difflib puts 1000.jpg before 0001.jpg where 1.jpg is asked for.
  near = [k for k in known if key in k][:3]
  near = near or difflib.get_close_matches(key, known, n=3, cutoff=0.5)
  hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
  some = ", ".join(map(repr, known[:3]))
  return errors.InputError(
    f"{flag}: expected one of the {len(known)} keys of {where} ({some}, ...), "
    f"found {key!r}{hint}"
  )


def neighbours(
  catalogue: Catalogue, found: top_k.Found
) -> list[list[dict[str, Any]]]:
  """For each query its items, best first: rank from 1, key and score."""
  keys = catalogue.items.keys
  return [
    [
      {"rank": rank, "key": keys[row], "score": score}
      for rank, (row, score) in enumerate(
        zip(rows.tolist(), scores.tolist(), strict=True), start=1
      )
      if row != table.EMPTY
    ]
    for rows, scores in zip(*found, strict=True)
  ]
