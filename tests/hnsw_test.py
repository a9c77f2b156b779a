"""Graphs find what exact search finds, nearly always, and go to files."""

import importlib
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks import hnsw as benchmark
from dicm_jax import errors, hnsw
from dicm_jax.data import files, vectors
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import table, top_k

LIBRARIES = sorted(hnsw.LIBRARIES)


def few(rows=300, width=8):
  return np.random.default_rng(0).normal(size=(rows, width)).astype(np.float32)


@pytest.mark.parametrize("library", LIBRARIES)
def test_neighbours_in_clusters_are_found(library):
  items, queries = benchmark.clustered(20_000, 200)
  mesh = mesh_lib.make_mesh(1, 8)
  exact = top_k.search(top_k.place(mesh, items), queries, 10)
  built = hnsw.build(library, items)
  found = hnsw.search(built, queries, 10)
  assert benchmark.recall(found, exact) >= 0.95
  # Inner products of unit vectors: sums of 64 products in two orders.
  same = found.rows == exact.rows
  np.testing.assert_allclose(
    found.scores[same], exact.scores[same], rtol=0, atol=1e-5
  )


@pytest.mark.parametrize("library", LIBRARIES)
def test_small_inner_products_are_found_too(library):
  # Logits of clicks are mostly negative: vectors point away from queries.
  items, queries = few(1000, 10) - 1, few(30, 10) + 1
  mesh = mesh_lib.make_mesh(1, 8)
  exact = top_k.search(top_k.place(mesh, items, "inner"), queries, 200)
  found = hnsw.search(hnsw.build(library, items, "inner"), queries, 200)
  assert benchmark.recall(found, exact) >= 0.95
  # Sums of 11 products.
  same = found.rows == exact.rows
  np.testing.assert_allclose(
    found.scores[same], exact.scores[same], rtol=0, atol=1e-5
  )


@pytest.mark.parametrize("similarity", top_k.SIMILARITIES)
@pytest.mark.parametrize("library", LIBRARIES)
def test_few_items_are_found_as_exactly_as_by_a_sort(library, similarity):
  items, queries = few(60), few(5)
  excluded = np.array([[0, 1], [1, table.EMPTY], [2, 3], [9, 9], [4, 0]])
  exact = top_k.search(
    top_k.place(mesh_lib.make_mesh(1, 8), items, similarity),
    queries,
    60,
    excluded=excluded,
  )
  built = hnsw.build(library, items, similarity)
  found = hnsw.search(built, queries, 60, excluded=excluded)
  # All 60 are asked for: what is left out leaves gaps at the end.
  assert (found.rows == exact.rows).mean() > 0.97
  assert (found.rows == table.EMPTY).sum(axis=1).tolist() == [2, 1, 2, 1, 2]
  assert (found.scores == -np.inf).sum(axis=1).tolist() == [2, 1, 2, 1, 2]
  one = hnsw.search(built, queries[:1], 3, excluded=excluded[:1])
  assert one.rows.tolist() == exact.rows[:1, :3].tolist()


@pytest.mark.parametrize("library", LIBRARIES)
def test_settings_reach_the_graph(library):
  settings = hnsw.Settings(
    connectivity=6, expansion_add=21, expansion_search=23
  )
  graph = hnsw.build(library, few(), "inner", settings).graph
  index = graph._index  # pyright: ignore
  if library == "usearch":
    found = (index.connectivity, index.expansion_add, index.expansion_search)
  else:
    of = index.hnsw
    found = (of.nb_neighbors(1), of.efConstruction, of.efSearch)
  assert found == (6, 21, 23)


@pytest.mark.parametrize("library", LIBRARIES)
def test_folder_holds_all_that_a_server_needs(tmp_path, library):
  items = vectors.Vectors(
    keys=tuple(f"k{i}" for i in range(300)),
    values=few(),
    encoder="net",
    digest="0f",
  )
  built = hnsw.build(library, items.values)
  out = tmp_path / "index"
  about = hnsw.write(out, built, items)
  assert about == json.loads((out / hnsw.ABOUT).read_text())
  assert (about["rows"], about["width"]) == (300, 8)
  assert (about["encoder"], about["encoder_digest"]) == ("net", "0f")
  name = built.graph.file_name
  assert sorted(p.name for p in out.iterdir()) == sorted(
    [name, hnsw.ABOUT, hnsw.ROWS]
  )
  assert about["files"][name] == files.digest(out / name)
  query = top_k.unit(items.values[[17]])
  if library == "usearch":
    index = importlib.import_module("usearch.index").Index.restore(
      str(out / name)
    )
    row = int(index.search(query[0], 1).keys[0])
  else:
    index = importlib.import_module("faiss").read_index(str(out / name))
    row = int(index.search(query, 1)[1][0, 0])
  assert pq.read_table(out / hnsw.ROWS)["key"][row].as_py() == "k17"
  with pytest.raises(errors.InputError, match="expected an empty folder"):
    hnsw.write(out, built, items)


@pytest.mark.parametrize("library", LIBRARIES)
def test_index_read_again_answers_as_before(tmp_path, library):
  items = vectors.Vectors(
    keys=tuple(f"k{i}" for i in range(300)), values=few(), digest="0f"
  )
  settings = hnsw.Settings(expansion_search=50)
  built = hnsw.build(library, items.values, "inner", settings)
  out = tmp_path / "index"
  hnsw.write(out, built, items)
  found = hnsw.read(out)
  assert found.items.settings == settings
  assert (found.vectors.keys, found.vectors.digest) == (items.keys, "0f")
  queries = few(20)
  again = hnsw.search(found.items, queries, 10)
  np.testing.assert_array_equal(
    again.rows, hnsw.search(built, queries, 10).rows
  )
  if library == "usearch":
    assert found.items.graph._index.expansion_search == 50  # pyright: ignore


def test_damaged_index_is_refused(tmp_path):
  with pytest.raises(errors.InputError, match=r"found no index\.json"):
    hnsw.read(tmp_path)
  items = vectors.Vectors(keys=("a", "b"), values=few(2))
  out = tmp_path / "index"
  hnsw.write(out, hnsw.build("usearch", items.values), items)
  (out / hnsw.ROWS).write_bytes(b"PAR1")
  with pytest.raises(errors.InputError, match="changed or damaged"):
    hnsw.read(out)
  (out / hnsw.ABOUT).write_text("[]")
  with pytest.raises(errors.InputError, match="no whole index"):
    hnsw.read(out)


def test_mistakes_are_named(monkeypatch):
  with pytest.raises(errors.InputError, match="'fais'; did you mean 'faiss'"):
    hnsw.build("fais", few())
  with pytest.raises(errors.InputError, match="expansion_add: expected >= 2"):
    hnsw.Settings(expansion_add=0)
  built = hnsw.build("usearch", few())
  with pytest.raises(errors.InputError, match="expected 1 to 300"):
    hnsw.search(built, few(), 301)

  def missing(name):
    raise ImportError(name)

  monkeypatch.setattr(importlib, "import_module", missing)
  with pytest.raises(errors.InputError, match=r"faiss is not .*\[retrieval\]"):
    hnsw.build("faiss", few())
