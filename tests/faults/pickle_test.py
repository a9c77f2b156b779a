"""A pickle can run any program when it is read: nobody of ours reads one."""

import io
import os
import pathlib
import pickle
import zipfile

import h5py
import jax.numpy as jnp
import numpy as np
import pytest

from dicm_jax import checkpoint, errors
from dicm_jax.data import prepared
from tests.faults.fuzz import judge, targets


class Marker:
  """Unpickled, it makes a folder."""

  def __init__(self, path: pathlib.Path):
    self._path = str(path)

  def __reduce__(self):
    return os.mkdir, (self._path,)


def payloads(marker: pathlib.Path) -> dict[str, bytes]:
  """The same trap in each wrapping that Python's readers open."""
  objects = np.array([Marker(marker)], object)
  single, archive = io.BytesIO(), io.BytesIO()
  np.save(single, objects, allow_pickle=True)
  arrays = {"first/kernel:0": objects, "features": objects}
  np.savez(archive, allow_pickle=True, **arrays)
  torch, hdf = io.BytesIO(), io.BytesIO()
  with zipfile.ZipFile(torch, "w") as file:
    file.writestr("archive/data.pkl", pickle.dumps(Marker(marker)))
  with h5py.File(hdf, "w") as file:
    file["first/kernel:0"] = np.void(pickle.dumps(Marker(marker)))
  return {
    "plain": pickle.dumps(Marker(marker)),
    "npy": single.getvalue(),
    "npz": archive.getvalue(),
    "torch": torch.getvalue(),
    "hdf": hdf.getvalue(),
  }


def test_the_trap_works(tmp_path):
  marker = tmp_path / "marker"
  pickle.loads(payloads(marker)["plain"])
  assert marker.exists()


@pytest.mark.parametrize("name", list(targets.everything()))
def test_no_reader_unpickles(tmp_path, name):
  target, marker = targets.everything()[name], tmp_path / "marker"
  folder = tmp_path / "files"
  judge.fill(target, folder)
  for file in target.files:
    for data in payloads(marker).values():
      judge.judge(target, folder, file, data)
  assert not marker.exists()


def test_no_mapped_features_unpickle(tmp_path):
  target, marker = targets.everything()["data set"], tmp_path / "marker"
  judge.fill(target, tmp_path)
  data = prepared.load(tmp_path / "set")
  (encoder,) = (tmp_path / "set" / "features").iterdir()
  for file in ("rows.npy", "scale.npy"):
    assert data.held("0" * 64, True) is not None
    (encoder / file).write_bytes(payloads(marker)["npy"])
    with pytest.raises(errors.InputError, match=file):
      data.held("0" * 64, True)
    (encoder / file).unlink()
  assert not marker.exists()


def test_no_checkpoint_unpickles(tmp_path):
  marker = tmp_path / "marker"
  with checkpoint.manager(tmp_path) as opened:
    checkpoint.save(opened, 1, {"a": jnp.zeros(3)}, {"step": 1})
  for data in payloads(marker).values():
    for file in (tmp_path / checkpoint.FOLDER).rglob("*"):
      if file.is_file():
        file.write_bytes(data)
    with pytest.raises(errors.InputError, match="can be read"):
      checkpoint.restore(tmp_path, {"a": jnp.zeros(3)}, {})
    with pytest.raises(errors.InputError, match="cannot be read"):
      checkpoint.Saved(tmp_path, 1).position()
  assert not marker.exists()
