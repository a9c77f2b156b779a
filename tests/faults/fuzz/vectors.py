"""Features made elsewhere and tables of vectors, made wrong."""

import io
import json
import pathlib
import tempfile

from absl import logging
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dicm_jax import feature_store
from dicm_jax.data import source
from dicm_jax.data import vectors as vector_table
from dicm_jax.data.readers import vectors
from tests.data.readers import vectors_test
from tests.faults.fuzz import judge


def read(path: pathlib.Path, policy: str = "stop") -> None:
  found = vectors.open_vectors(path, source.Bad(policy))
  for keys, block in found.read(set(found.keys())):
    assert block.shape == (len(keys), found.width)
    assert np.isfinite(block).all()


def skipped(path: pathlib.Path) -> None:
  read(path, "skip")


def searched(path: pathlib.Path) -> None:
  found = vector_table.read(path)
  assert found.values.shape[0] == len(found.keys)


def _given() -> dict[str, bytes]:
  with tempfile.TemporaryDirectory() as place:
    folder = pathlib.Path(place)
    makers = (
      vectors_test.npy,
      vectors_test.tensors,
      vectors_test.lists,
      vectors_test.fixed,
    )
    paths = [make(folder) for make in makers]
    return {path.name: path.read_bytes() for path in paths}


def _npy(header: str, data: bytes = bytes(64)) -> bytes:
  text = header.encode().ljust(118 - 1) + b"\n"
  return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def _tensors(shape: list[int], kind: str, data: bytes = b"") -> bytes:
  entry = {"dtype": kind, "shape": shape, "data_offsets": [0, len(data)]}
  text = json.dumps({"features": entry}).encode()
  return len(text).to_bytes(8, "little") + text + data


def _claims() -> dict[str, bytes]:
  def head(kind: str, shape: str) -> str:
    return f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}"

  archive = io.BytesIO()
  np.savez(archive, features=vectors_test.MATRIX)
  return {
    "rows.npy": _npy(head("<f4", "(1000000000000, 0)")),
    "more.npy": _npy(head("<f4", "(1000000000000, 4)")),
    "over.npy": _npy(head("<f4", "(4611686018427387904, 4)")),
    "minus.npy": _npy(head("<f4", "(-4, 4)")),
    "deep.npy": _npy("(" * 110),
    "objects.npy": _npy(head("|O", "(2, 2)")),
    "archive.npy": archive.getvalue(),
    "large.npy": _npy(head("<f8", "(2, 4)"), np.full(8, 1e300).tobytes()),
    "rows.safetensors": _tensors([10**12, 0], "F32"),
    "bfloat.safetensors": _tensors([2, 2], "BF16", bytes(8)),
    "byte.safetensors": _tensors([2, 2], "F8_E4M3", bytes(4)),
  }


def _table() -> bytes:
  with tempfile.TemporaryDirectory() as place:
    path = pathlib.Path(place) / "t.parquet"
    made = vector_table.Vectors(
      keys=tuple(vectors_test.KEYS), values=vectors_test.MATRIX, encoder="x"
    )
    vector_table.write(path, made)
    return path.read_bytes()


def _folder() -> dict[str, bytes]:
  """As features/ENCODER of a prepared data set."""
  flat = pa.array(np.arange(12, dtype=np.int8))
  table = pa.table(
    {
      "features": pa.FixedSizeListArray.from_arrays(flat, 4),
      "scale": pa.array(np.ones(3, np.float32)),
      "key": ["", "a", "b"],
    }
  )
  file = io.BytesIO()
  pq.write_table(table, file)
  said = {
    "name": "squeezenet",
    "digest": "0" * 64,
    "width": 4,
    "dtype": "int8",
    "notice": "",
  }
  return {
    "part-00000.parquet": file.getvalue(),
    "encoder.json": json.dumps(said).encode(),
  }


def cached(path: pathlib.Path) -> None:
  """Whatever lies in the cache, nothing is refused: it is computed again."""
  logging.set_verbosity(logging.ERROR)  # It warns of each.
  store = feature_store.Store(path.parent, 4)
  out = np.zeros((1, 4), np.float32)
  store.read([bytes(32)], out)
  assert np.isfinite(out).all()


def _cached() -> bytes:
  with tempfile.TemporaryDirectory() as place:
    store = feature_store.Store(pathlib.Path(place), 4)
    store.add([bytes(32)], np.ones((1, 4), np.float32))
    (path,) = pathlib.Path(place).iterdir()
    return path.read_bytes()


def _keys(folder: pathlib.Path) -> None:
  text = "\n".join(vectors_test.KEYS)
  for name in ("m.ids.txt",):
    (folder / name).write_text(text)


def targets() -> dict[str, judge.Target]:
  return {
    "vectors": judge.Target(
      files=_given(),
      reads=(read, skipped),
      beside=_keys,
      wrong=_claims(),
    ),
    "vector keys": judge.Target(
      files={"m.ids.txt": "\n".join(vectors_test.KEYS).encode()},
      beside=lambda folder: vectors_test.npy(folder),
      reads=(lambda path: read(path.with_name("m.npy")),),
      place=lambda path: str(path.parent),
    ),
    "vector table": judge.Target(
      files={"t.parquet": _table()}, reads=(searched,)
    ),
    "feature folder": judge.Target(
      files=_folder(),
      reads=(lambda path: searched(path.parent),),
      place=lambda path: str(path.parent),
    ),
    "feature cache": judge.Target(
      files={"a.parquet": _cached()}, reads=(cached,)
    ),
  }
