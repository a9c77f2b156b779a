"""Precomputed features in three formats; wrong ones are named by row."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors import numpy as safetensors

from dicm_jax import errors
from dicm_jax.data import source
from dicm_jax.data.readers import vectors

MATRIX = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)
KEYS = [f"k{i}" for i in range(9)]


def npy(folder, matrix=MATRIX):
  np.save(folder / "m.npy", matrix)
  (folder / "m.ids.txt").write_text("\n".join(KEYS))
  return folder / "m.npy"


def tensors(folder, matrix=MATRIX):
  safetensors.save_file({"features": matrix}, folder / "m.safetensors")
  (folder / "m.ids.txt").write_text("\n".join(KEYS))
  return folder / "m.safetensors"


def lists(folder, matrix=MATRIX):
  table = pa.table({"item_id": KEYS, "embedding": list(matrix)})
  pq.write_table(table, folder / "m.parquet")
  return folder / "m.parquet"


def fixed(folder, matrix=MATRIX):
  flat = pa.array(matrix.reshape(-1))
  column = pa.FixedSizeListArray.from_arrays(flat, matrix.shape[1])
  pq.write_table(
    pa.table({"key": KEYS, "vector": column}), folder / "f.parquet"
  )
  return folder / "f.parquet"


@pytest.mark.parametrize("write", [npy, tensors, lists, fixed])
@pytest.mark.parametrize("block", [2, 4096])
def test_wanted_vectors_in_order(tmp_path, monkeypatch, write, block):
  monkeypatch.setattr(vectors, "BLOCK", block)
  found = vectors.open_vectors(write(tmp_path), source.Bad())
  assert found.width == 4
  assert list(found.keys()) == KEYS
  blocks = list(found.read({"k1", "k4", "k5", "k8", "other"}))
  assert all(len(keys) <= block for keys, _ in blocks)
  assert [k for keys, _ in blocks for k in keys] == ["k1", "k4", "k5", "k8"]
  joined = np.concatenate([part for _, part in blocks])
  np.testing.assert_array_equal(joined, MATRIX[[1, 4, 5, 8]])


@pytest.mark.parametrize("write", [npy, tensors, lists, fixed])
def test_a_number_that_is_none_is_named_by_row(tmp_path, write):
  wrong = MATRIX.copy()
  wrong[5, 2] = np.nan
  found = vectors.open_vectors(write(tmp_path, wrong), source.Bad())
  with pytest.raises(
    errors.InputError, match="row 5: image key 'k5': expected finite"
  ):
    list(found.read(set(KEYS)))


def test_rows_without_names_are_numbered(tmp_path):
  np.save(tmp_path / "m.npy", MATRIX.astype(np.float16))
  found = vectors.open_vectors(tmp_path / "m.npy", source.Bad())
  assert list(found.keys()) == [str(i) for i in range(9)]
  ((_, block),) = found.read({"2"})
  np.testing.assert_allclose(block[0], MATRIX[2], rtol=1e-3)


def test_another_width_is_named_by_row(tmp_path):
  rows = [row.tolist() for row in MATRIX]
  rows[3] = rows[3][:2]
  table = pa.table({"item_id": KEYS, "embedding": rows})
  pq.write_table(table, tmp_path / "m.parquet")
  found = vectors.open_vectors(tmp_path / "m.parquet", source.Bad())
  message = "row 3: expected 4 numbers, as most have; found 2"
  with pytest.raises(errors.InputError, match=message):
    list(found.read(set(KEYS)))


def test_wrong_files_are_named(tmp_path):
  npy(tmp_path)
  (tmp_path / "m.ids.txt").write_text("a\nb")
  with pytest.raises(errors.InputError, match=r"expected 9 keys.*found 2"):
    vectors.open_vectors(tmp_path / "m.npy", source.Bad())
  np.save(tmp_path / "pickle.npy", np.array([{}]), allow_pickle=True)
  np.save(tmp_path / "ints.npy", np.zeros((2, 2), int))
  (tmp_path / "bad.safetensors").write_bytes(b"\xff" * 20)
  safetensors.save_file({"x": MATRIX}, tmp_path / "other.safetensors")
  for name, message in (
    ("pickle.npy", "no matrix of numbers"),
    ("ints.npy", "expected a matrix of floating-point numbers"),
    ("bad.safetensors", "no safetensors file"),
    ("other.safetensors", "expected a tensor 'features', found x"),
    ("x.txt", "does not exist"),
  ):
    with pytest.raises(errors.InputError, match=message):
      vectors.open_vectors(tmp_path / name, source.Bad())


def test_a_key_with_two_rows_is_named(tmp_path):
  npy(tmp_path)
  (tmp_path / "m.ids.txt").write_text("\n".join([*KEYS[:8], "k2"]))
  with pytest.raises(
    errors.InputError, match=r"row 8: .*'k2'.* first at m\.npy, row 2"
  ):
    list(vectors.open_vectors(tmp_path / "m.npy", source.Bad()).keys())


@pytest.mark.parametrize("write", [npy, tensors, lists, fixed])
def test_wrong_vectors_are_left_out_and_reported_once(tmp_path, write):
  wrong = MATRIX.copy()
  wrong[5, 2] = np.inf
  bad = source.Bad("skip")
  found = vectors.open_vectors(write(tmp_path, wrong), bad)
  for _ in range(2):
    keys = [k for block, _ in found.read(set(KEYS)) for k in block]
    assert keys == KEYS[:5] + KEYS[6:]
  assert [entry["line"] for entry in bad.found] == ["row 5"]
  bad = source.Bad()
  assert list(vectors.open_vectors(write(tmp_path, wrong), bad).read({"k1"}))


def test_of_repeated_keys_the_first_vector_counts_when_skipping(tmp_path):
  npy(tmp_path)
  (tmp_path / "m.ids.txt").write_text("\n".join([*KEYS[:8], "k2"]))
  bad = source.Bad("skip")
  found = vectors.open_vectors(tmp_path / "m.npy", bad)
  ((keys, block),) = found.read({"k2"})
  assert keys == ["k2"]
  np.testing.assert_array_equal(block, MATRIX[2:3])
  assert bad.count == 1


def test_the_commonest_width_counts(tmp_path):
  rows = [row.tolist() for row in MATRIX]
  rows[0] = rows[0][:2]
  table = pa.table({"item_id": KEYS, "embedding": rows})
  pq.write_table(table, tmp_path / "m.parquet")
  bad = source.Bad("skip")
  found = vectors.open_vectors(tmp_path / "m.parquet", bad)
  assert found.width == 4
  assert [k for keys, _ in found.read(set(KEYS)) for k in keys] == KEYS[1:]
  assert [entry["line"] for entry in bad.found] == ["row 0"]


@pytest.mark.parametrize(
  ("data", "message"),
  [
    (None, "cannot be read"),
    ({"id": ["a"], "vector": ["1 2"]}, "'vector': expected lists of numbers"),
    ({"id": ["a"], "vector": [["1"]]}, "'vector': expected lists of numbers"),
    ({"id": [], "vector": pa.array([], pa.list_(pa.float32()))}, "found none"),
  ],
)
def test_parquet_without_vectors_is_named(tmp_path, data, message):
  path = tmp_path / "m.parquet"
  pq.write_table(pa.table(data), path) if data else path.write_bytes(b"PAR1")
  with pytest.raises(errors.InputError, match=message):
    vectors.open_vectors(path, source.Bad())


def header(shape: str, kind: str = "<f4") -> bytes:
  text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}"
  return b"\x93NUMPY\x01\x00\x76\x00" + text.ljust(117).encode() + b"\n"


@pytest.mark.parametrize(
  ("data", "message"),
  [
    (header("(1000000000000, 0)"), r"found float32 \[1000000000000, 0\]"),
    (header("(1000000000000, 4)"), "no matrix of numbers"),
    (header("(4611686018427387904, 4)"), "no matrix of numbers"),
    (header("(2, 2)", "|O") + bytes(32), "no matrix of numbers"),
    (header("(" * 50), "no matrix of numbers"),
    (b"PK\x03\x04", "no matrix of numbers"),
  ],
)
def test_a_head_that_promises_too_much_is_named(tmp_path, data, message):
  (tmp_path / "m.npy").write_bytes(data)
  with pytest.raises(errors.InputError, match=message):
    vectors.open_vectors(tmp_path / "m.npy", source.Bad())


def test_lists_that_are_empty_are_no_vectors(tmp_path):
  table = pa.table(
    {"id": ["a"], "vector": pa.array([[]], pa.list_(pa.float32()))}
  )
  pq.write_table(table, tmp_path / "v.parquet")
  with pytest.raises(errors.InputError, match="found most lists empty"):
    vectors.open_vectors(tmp_path / "v.parquet", source.Bad())
