"""Approximate nearest neighbours: HNSW graphs of USearch and of FAISS.

Source: Malkov and Yashunin, "Efficient and robust approximate nearest neighbor
search using Hierarchical Navigable Small World graphs",
https://arxiv.org/abs/1603.09320. Needs `pip install 'dicm_jax[retrieval]'`.
"""

from collections.abc import Mapping
import dataclasses
import importlib
import importlib.metadata
import json
import pathlib
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float, Int
import numpy as np

from dicm_jax import errors, out_folder
from dicm_jax.data import files
from dicm_jax.data import vectors as vectors_lib
from dicm_jax.sharding import table, top_k

ROWS, ABOUT = "items.parquet", "index.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
  """Of a graph, by USearch's names."""

  connectivity: int = 32
  """Links of a node above the lowest level, which has twice as many (M)."""
  expansion_add: int = 128
  """Candidates kept while a node is linked (efConstruction)."""
  expansion_search: int = 128
  """Candidates kept while a query is answered (ef, efSearch); k at least."""

  def __post_init__(self):
    for name, value in dataclasses.asdict(self).items():
      if value < 2:
        raise errors.InputError(f"{name}: expected >= 2, found {value}")


@runtime_checkable
class Graph(Protocol):
  """A library's index of rows by inner product."""

  file_name: str
  """Of its file: each library reads its own."""

  @classmethod
  def load(cls, path: pathlib.Path, settings: Settings) -> "Graph":
    """What `save` wrote. Raises whatever the library does."""
    ...

  def best(
    self, queries: Float[np.ndarray, "Q D"], k: int
  ) -> tuple[Int[np.ndarray, "Q k"], Float[np.ndarray, "Q k"]]:
    """Rows and inner products, best first; where it found fewer, row EMPTY."""
    ...

  def save(self, path: pathlib.Path) -> None: ...


class USearch:
  """https://unum-cloud.github.io/usearch/python/, metric `ip`."""

  file_name = "index.usearch"

  def __init__(self, vectors: Float[np.ndarray, "R D"], settings: Settings):
    self._index = _library("usearch.index").Index(
      ndim=vectors.shape[1],
      metric="ip",
      dtype="f32",
      **dataclasses.asdict(settings),
    )
    self._index.add(np.arange(len(vectors), dtype=np.uint64), vectors)

  @classmethod
  def load(cls, path: pathlib.Path, settings: Settings) -> Graph:
    made = cls.__new__(cls)
    made._index = _library("usearch.index").Index.restore(str(path))
    made._index.expansion_search = settings.expansion_search  # Not in the file.
    return made

  def best(self, queries, k: int):
    """See `Graph`; USearch's distance is 1 - the inner product."""
    rows = np.full((len(queries), k), table.EMPTY, np.int32)
    scores = np.zeros((len(queries), k), np.float32)
    for i, query in enumerate(queries):
      matches = self._index.search(query, k)
      rows[i, : len(matches)] = matches.keys
      scores[i, : len(matches)] = 1 - matches.distances
    return rows, scores

  def save(self, path: pathlib.Path) -> None:
    self._index.save(str(path))


class Faiss:
  """https://faiss.ai, IndexHNSWFlat."""

  file_name = "index.faiss"

  def __init__(self, vectors: Float[np.ndarray, "R D"], settings: Settings):
    self._faiss = _library("faiss")
    self._index = self._faiss.IndexHNSWFlat(
      vectors.shape[1],
      settings.connectivity,
      self._faiss.METRIC_INNER_PRODUCT,
    )
    self._index.hnsw.efConstruction = settings.expansion_add
    self._index.hnsw.efSearch = settings.expansion_search
    self._index.add(np.ascontiguousarray(vectors, np.float32))

  @classmethod
  def load(cls, path: pathlib.Path, settings: Settings) -> Graph:
    del settings  # The file has them.
    made = cls.__new__(cls)
    made._faiss = _library("faiss")
    made._index = made._faiss.read_index(str(path))
    return made

  def best(self, queries, k: int):
    """See `Graph`; FAISS has -1 for a row that it did not find, as EMPTY."""
    # Unlike USearch it would keep fewer candidates than are asked for.
    kept = max(k, self._index.hnsw.efSearch)
    scores, rows = self._index.search(
      np.ascontiguousarray(queries, np.float32),
      k,
      params=self._faiss.SearchParametersHNSW(efSearch=kept),
    )
    return rows.astype(np.int32), scores

  def save(self, path: pathlib.Path) -> None:
    self._faiss.write_index(self._index, str(path))


LIBRARIES: dict[str, type[USearch] | type[Faiss]] = {
  "usearch": USearch,
  "faiss": Faiss,
}
_PACKAGES = {"usearch": "usearch", "faiss": "faiss-cpu"}


def _library(name: str) -> Any:
  try:
    return importlib.import_module(name)
  except ImportError as e:
    raise errors.InputError(
      f"--index: {name.split('.')[0]} is not installed; expected "
      "pip install 'dicm_jax[retrieval]'"
    ) from e


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Items:
  """Vectors in a graph."""

  graph: Graph
  library: str
  settings: Settings
  count: int
  width: int
  similarity: str


def build(
  library: str,
  vectors: Float[np.ndarray, "R D"],
  similarity: str = "cosine",
  settings: Settings | None = None,
) -> Items:
  """Builds a graph; where cores share the work, links differ between builds.

  Args:
    library: a key of LIBRARIES.
    vectors: the rows.
    similarity: of top_k.SIMILARITIES. HNSW is made for distances; with inner
      the graph's vectors get one more number, so that all have one length.
    settings: None: the defaults.

  Raises:
    InputError: unknown library or similarity, or the library is not installed.
  """
  if library not in LIBRARIES:
    raise errors.unknown_name("--index", library, LIBRARIES)
  top_k.check_similarity(similarity)
  laid_out = top_k.unit if similarity == "cosine" else of_one_length
  settings = settings or Settings()
  return Items(
    graph=LIBRARIES[library](laid_out(vectors), settings),
    library=library,
    settings=settings,
    count=vectors.shape[0],
    width=vectors.shape[1],
    similarity=similarity,
  )


def of_one_length(
  vectors: Float[np.ndarray, "R D"],
) -> Float[np.ndarray, "R _"]:
  """The vectors with one more number, which makes all as long as the longest.

  Inner products with queries whose last number is 0 stay what they were, and
  order the vectors as distances do, by which a graph is built.
  Source: Bachrach and others, "Speeding up the Xbox recommender system using a
  Euclidean transformation for inner-product spaces" (RecSys 2014), section 3,
  https://doi.org/10.1145/2645710.2645741.

  >>> of_one_length(np.array([[3.0], [5.0]], np.float32)).tolist()
  [[3.0, 4.0], [5.0, 0.0]]
  """
  squares = np.einsum("rd,rd->r", vectors, vectors, dtype=np.float64)
  rest = np.sqrt(squares.max(initial=0) - squares).astype(np.float32)
  return np.concatenate([vectors.astype(np.float32), rest[:, None]], axis=1)


def search(
  items: Items,
  queries: Float[np.ndarray, "Q D"],
  k: int,
  *,
  excluded: Int[np.ndarray, "Q X"] | None = None,
) -> top_k.Found:
  """As `top_k.search`, but a row may be missed.

  What is excluded is asked for and left out again.

  Raises:
    InputError: as `top_k.search`.
  """
  top_k.check(queries, k, count=items.count, width=items.width)
  if items.similarity == "cosine":
    queries = top_k.unit(queries)
  else:
    queries = np.pad(queries.astype(np.float32), ((0, 0), (0, 1)))
  if excluded is None:
    excluded = np.zeros((len(queries), 0), np.int32)
  asked = min(items.count, k + excluded.shape[1])
  rows, scores = items.graph.best(queries, asked)
  scores = np.where(rows == table.EMPTY, -np.inf, scores).astype(np.float32)
  return top_k.without(top_k.Found(rows, scores), excluded, k)


def write(
  out: pathlib.Path, items: Items, vectors: vectors_lib.Vectors
) -> dict[str, Any]:
  """Writes a folder: the library's own file, the rows' table, and index.json.

  Args:
    out: an empty folder, or none yet.
    items: built from the vectors.
    vectors: as they were given; row i of their table is the graph's number i.

  Returns:
    What index.json says: library, its version, settings, similarity (with
    cosine the graph holds the vectors at length 1, with inner those of
    `of_one_length`), rows, width, encoder and its digest, and each file's
    SHA-256.

  Raises:
    InputError: the folder holds files or cannot be written.
  """
  out_folder.check_free(out)
  with out_folder.filling(out) as folder:
    return fill(folder, items, vectors)


def fill(
  folder: pathlib.Path,
  items: Items,
  vectors: vectors_lib.Vectors,
  more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
  """As `write`, into a folder that is there; index.json says `more` besides."""
  about: dict[str, Any] = dict(more or {}) | {
    "library": items.library,
    "version": importlib.metadata.version(_PACKAGES[items.library]),
    "settings": dataclasses.asdict(items.settings),
    "similarity": items.similarity,
    "rows": items.count,
    "width": items.width,
    "encoder": vectors.encoder,
    "encoder_digest": vectors.digest,
  }
  items.graph.save(folder / items.graph.file_name)
  vectors_lib.write(folder / ROWS, vectors)
  names = (items.graph.file_name, ROWS)
  about["files"] = {name: files.digest(folder / name) for name in names}
  files.write_json(folder / ABOUT, about)
  return about


class Read(NamedTuple):
  """An index as it lies in a folder."""

  items: Items
  vectors: vectors_lib.Vectors
  about: dict[str, Any]
  """index.json."""


def read(folder: pathlib.Path) -> Read:
  """Reads what `write` wrote; the files are compared with their digests.

  Raises:
    InputError: the folder holds no index, or a file of it was changed or
      damaged; or the library is not installed.
  """
  about = _read_about(folder)
  try:
    for name, expected in about["files"].items():
      found = files.digest(folder / name)
      if found != expected:
        raise errors.InputError(
          f"{folder / name}: expected SHA-256 {expected}, found {found}: it "
          "was changed or damaged; make the index again"
        )
    settings = Settings(**about["settings"])
    kind = LIBRARIES[about["library"]]
    items = Items(
      graph=kind.load(folder / kind.file_name, settings),
      library=about["library"],
      settings=settings,
      count=about["rows"],
      width=about["width"],
      similarity=about["similarity"],
    )
  except (KeyError, TypeError, AttributeError, OSError) as e:
    raise errors.InputError(f"{folder}: no whole index: {e!r}") from e
  return Read(items, vectors_lib.read(folder / ROWS), about)


def _read_about(folder: pathlib.Path) -> Any:
  path = folder / ABOUT
  try:
    return json.loads(path.read_text())
  except FileNotFoundError as e:
    raise errors.InputError(
      f"{folder}: expected the folder of an index, found no {ABOUT} in it"
    ) from e
  except (OSError, ValueError) as e:
    raise errors.InputError(f"{path}: cannot be read: {e}") from e
