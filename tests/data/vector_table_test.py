"""Tables of vectors come back as written, or say what is wrong where."""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dicm_jax import errors
from dicm_jax.data import feature_files, vectors

VALUES = np.arange(6, dtype=np.float32).reshape(3, 2)


def table(**changes):
  made = vectors.Vectors(
    keys=("a", "b", "c"), values=VALUES, encoder="net", digest="0f"
  )
  return dataclasses.replace(made, **changes)


def test_table_comes_back_as_written(tmp_path):
  path = tmp_path / "new" / "items.parquet"
  vectors.write(path, table())
  found = vectors.read(path)
  assert found.keys == ("a", "b", "c")
  assert (found.encoder, found.digest) == ("net", "0f")
  assert found.values.dtype == np.float32
  np.testing.assert_array_equal(found.values, VALUES)
  stored = pq.read_table(path)
  assert stored.schema.field("key").type == pa.string()
  assert stored.schema.field("vector").type == pa.list_(pa.float32(), 2)
  assert [p.name for p in path.parent.iterdir()] == ["items.parquet"]


def test_table_of_queries_says_what_they_are_compared_with(tmp_path):
  vectors.write(tmp_path / "q.parquet", table(similarity="inner", items="1a"))
  found = vectors.read(tmp_path / "q.parquet")
  assert (found.similarity, found.items) == ("inner", "1a")
  vectors.write(tmp_path / "plain.parquet", table())
  plain = vectors.read(tmp_path / "plain.parquet")
  assert (plain.similarity, plain.items) == ("", "")


@pytest.mark.parametrize("kind", [pa.float16(), pa.float64()])
def test_table_of_other_numbers_is_read_as_float32(tmp_path, kind):
  path = tmp_path / "items.parquet"
  lists = pa.array([[1.5, 2.0], [0.0, -3.0]], pa.list_(kind))
  pq.write_table(pa.table({"key": ["a", "b"], "vector": lists}), path)
  found = vectors.read(path)
  assert found.values.dtype == np.float32
  assert found.values.tolist() == [[1.5, 2.0], [0.0, -3.0]]
  assert (found.encoder, found.digest) == ("", "")


def lists(*rows):
  return pa.array(rows, pa.list_(pa.float32()))


@pytest.mark.parametrize(
  ("columns", "message"),
  [
    (
      {"id": ["a"], "vector": lists([1])},
      "expected the columns 'key' and 'vector', found 'id', 'vector'",
    ),
    (
      {"key": ["a"], "features": lists([1])},
      "expected the columns 'key' and 'vector', found 'key', 'features'",
    ),
    (
      {"key": ["a"], "vector": [1.0]},
      "column 'vector': expected lists of float32, found double",
    ),
    (
      {"key": ["a"], "vector": [["x"]]},
      "column 'vector': expected lists of float32, found list<",
    ),
    (
      {"key": ["a", "b", "c"], "vector": lists([1, 2], [3, 4], [5])},
      "row 2: expected a vector of 2 numbers, found 1",
    ),
    (
      {"key": ["a", "b"], "vector": lists(None, [3, 4])},
      "row 0: expected a vector of 2 numbers, found null",
    ),
    (
      {"key": ["a", "b"], "vector": lists([1, 2], [3, float("inf")])},
      "row 1, number 1: expected a finite number, found inf",
    ),
    (
      {"key": ["a", "b"], "vector": lists([1, 2], [None, 2])},
      "row 1, number 0: expected a finite number, found nan",
    ),
    (
      {"key": ["a", None], "vector": lists([1], [2])},
      "row 1: expected a key, found null",
    ),
    (
      {"key": ["a", "b", "a"], "vector": lists([1], [2], [3])},
      "row 2: expected distinct keys, found 'a' as in row 0 of it.parquet",
    ),
    (
      {"key": pa.array([], pa.string()), "vector": lists()},
      "expected vectors of 1 number or more, found 0 of 0",
    ),
  ],
)
def test_wrong_table_is_told_by_file_and_row(tmp_path, columns, message):
  path = tmp_path / "it.parquet"
  pq.write_table(pa.table(columns), path)
  with pytest.raises(errors.InputError) as caught:
    vectors.read(path)
  assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"keys": ("a", "b", "a")}, "row 2: expected distinct keys, found 'a'"),
    (
      {"values": VALUES + np.float32([0, np.inf])},
      "row 0, number 1: expected a finite",
    ),
    ({"values": VALUES[:, :0]}, "expected vectors of 1 number or more"),
  ],
)
def test_wrong_table_is_not_written(tmp_path, changes, message):
  with pytest.raises(errors.InputError, match=message):
    vectors.write(tmp_path / "it.parquet", table(**changes))
  assert list(tmp_path.iterdir()) == []


def test_name_of_a_column_that_is_no_utf8_is_refused(tmp_path):
  path = tmp_path / "vectors.parquet"
  pq.write_table(pa.table({"key": ["a"], "zzzzz": [1]}), path)
  path.write_bytes(path.read_bytes().replace(b"zzzzz", b"zzzz\xf2"))
  with pytest.raises(errors.InputError, match=f"{path}: no Parquet file"):
    vectors.read(path)


def test_file_that_is_none_is_named(tmp_path):
  path = tmp_path / "it.parquet"
  with pytest.raises(errors.InputError, match=f"{path}: there is no such"):
    vectors.read(path)
  path.write_text("key,vector")
  with pytest.raises(errors.InputError, match=f"{path}: no Parquet file"):
    vectors.read(path)


def write_folder(root, dtype, monkeypatch):
  """Features of 5 image rows in parts of 2, as preparation writes them."""
  monkeypatch.setattr(feature_files, "PART_ROWS", 2)
  values = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
  encoder = feature_files.Encoder(
    name="net", digest="1a2b3c4d5e", width=3, dtype=dtype, notice=""
  )
  keys = ["", "a.jpg", "b.jpg", "c.jpg", "d.jpg"]
  for part in range(3):
    rows = feature_files.rows_of(part, 5)
    feature_files.write_part(root, encoder, part, keys[rows], values[rows])
  feature_files.finish(root, encoder)
  return root / feature_files.FOLDER / encoder.folder, values


@pytest.mark.parametrize(
  ("dtype", "error"), [("float32", 0), ("float16", 2e-3), ("int8", 2e-2)]
)
def test_folder_of_a_prepared_data_set(tmp_path, monkeypatch, dtype, error):
  folder, values = write_folder(tmp_path, dtype, monkeypatch)
  found = vectors.read(folder)
  assert found.keys == ("a.jpg", "b.jpg", "c.jpg", "d.jpg")
  assert (found.encoder, found.digest) == ("net", "1a2b3c4d5e")
  # Numbers up to 3: 2^-11 of them as float16, 1 / 254 of the largest as int8.
  np.testing.assert_allclose(found.values, values[1:], rtol=0, atol=error)


def test_folder_that_is_wrong_is_told_by_file(tmp_path, monkeypatch):
  with pytest.raises(errors.InputError, match=r"found no encoder\.json in it"):
    vectors.read(tmp_path)
  folder, _ = write_folder(tmp_path, "float32", monkeypatch)
  meta = folder / feature_files.META
  about = json.loads(meta.read_text())
  meta.write_text(json.dumps(about | {"width": 4}))
  with pytest.raises(
    errors.InputError, match=r"part-00000\.parquet: expected 4"
  ):
    vectors.read(folder)
  meta.write_text("{")
  with pytest.raises(errors.InputError, match=r"encoder\.json: cannot be read"):
    vectors.read(folder)
  meta.write_text(json.dumps(about))
  twice = folder / "part-00002.parquet"
  twice.write_bytes((folder / "part-00001.parquet").read_bytes())
  with pytest.raises(errors.InputError) as caught:
    vectors.read(folder)
  assert str(caught.value) == (
    f"{twice}: row 0: expected distinct keys, found 'b.jpg' as in row 0 of "
    "part-00001.parquet"
  )
