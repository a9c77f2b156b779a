"""Weights of frozen and of trained encoders, made wrong."""

import io
import json
import pathlib
import tempfile
import zipfile

import h5py
import jax
import numpy as np

from dicm_jax.model import encoder_file, encoders, text_cnn
from dicm_jax.model import weights as weights_lib
from tests.faults.fuzz import judge
from tests.model import weights_test

_CONFIG = encoders.QueryConfig(
  width=3, text=text_cnn.TextConfig(length=4, buckets=20)
)


def frozen(path: pathlib.Path) -> None:
  found, _ = weights_lib.read(path, weights_test.LAYERS)
  for tensors in found.values():
    for value in tensors.values():
      assert np.isfinite(value).all()


def trained(path: pathlib.Path) -> None:
  encoder_file.read(path, encoder_file.QUERIES)


def _frozen() -> dict[str, bytes]:
  with tempfile.TemporaryDirectory() as place:
    folder = pathlib.Path(place)
    made = {
      "w.h5": weights_test._keras(),
      "w.npz": weights_test._keras(),
      "w.safetensors": weights_test._torch(),
    }
    paths = [weights_test._write(folder / n, t) for n, t in made.items()]
    return {path.name: path.read_bytes() for path in paths}


def _claims() -> dict[str, bytes]:
  """Archives that are small until somebody unpacks them."""
  head = io.BytesIO()
  np.lib.format.write_array_header_1_0(
    head, {"descr": "<f4", "fortran_order": False, "shape": (1 << 30,)}
  )
  out = {}
  for name, zeros in (("claim.npz", 0), ("zeros.npz", 1 << 28)):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
      archive.writestr("first/kernel:0.npy", head.getvalue() + bytes(zeros))
    out[name] = file.getvalue()
  return out


def _links() -> dict[str, bytes]:
  """Weights that lie in other files of the machine."""
  out = {}
  with tempfile.TemporaryDirectory() as place:
    for name in ("link", "raw"):
      path = pathlib.Path(place) / f"{name}.h5"
      with h5py.File(path, "w") as file:
        if name == "link":
          file["first"] = h5py.ExternalLink("w.h5", "/first")
        else:
          group = file.create_group("first")
          where = [("/etc/hostname", 0, 24)]
          group.create_dataset("kernel:0", (1, 1, 3, 2), "f4", external=where)
      out[path.name] = path.read_bytes()
  return out


def _trained() -> bytes:
  rng = np.random.default_rng(0)
  like = encoder_file.params_of(_CONFIG, encoder_file.QUERIES)
  params = jax.tree.map(lambda leaf: rng.random(leaf.shape, np.float32), like)
  with tempfile.TemporaryDirectory() as place:
    path = pathlib.Path(place) / "e.safetensors"
    encoder_file.write(path, _CONFIG, params, encoder_file.QUERIES)
    return path.read_bytes()


def _described(text: str) -> bytes:
  entry = {"__metadata__": {encoder_file.QUERIES.entry: text}}
  head = json.dumps(entry).encode()
  return len(head).to_bytes(8, "little") + head


def _odd_encoders() -> dict[str, bytes]:
  texts = {
    "wide": '{"width": 1000000000000, "text": {"length": 4, "buckets": 20}}',
    "many": '{"width": 3, "text": {"length": 4, "buckets": '
    + str(2**62)
    + "}}",
    "true": '{"width": true, "text": {"length": 4, "buckets": 20}}',
    "list": "[1]",
    "deep": "[" * 100_000,
    "digits": '{"width": ' + "9" * 5000 + "}",
    "text": '{"width": 3, "text": 5}',
  }
  return {f"{n}.safetensors": _described(t) for n, t in texts.items()}


def targets() -> dict[str, judge.Target]:
  return {
    "weights": judge.Target(
      files=_frozen(), reads=(frozen,), wrong=_claims() | _links()
    ),
    "encoder": judge.Target(
      files={"e.safetensors": _trained()},
      reads=(trained,),
      wrong=_odd_encoders(),
    ),
  }
