"""Wrong weights files: the message names file, tensor, expected and found."""

import io
import pathlib
import zipfile

import h5py
import numpy as np
import pytest
import safetensors.numpy

from dicm_jax import errors
from dicm_jax.model import weights

LAYERS = (
  weights.Layer("first", ("first",), (1, 1, 3, 2), "f.0", sees_image=True),
  weights.Layer("last", ("last",), (8, 5), "c.0", flattened=(2, 2, 2)),
)


def _keras() -> dict[str, np.ndarray]:
  rng = np.random.default_rng(0)
  return {
    "first/kernel:0": rng.normal(size=(1, 1, 3, 2)).astype(np.float32),
    "first/bias:0": np.float32([1, 2]),
    "last/kernel:0": rng.normal(size=(8, 5)).astype(np.float32),
    "last/bias:0": np.arange(5, dtype=np.float32),
  }


def _torch() -> dict[str, np.ndarray]:
  """Holds the same network as `_keras`, as torchvision would."""
  k = _keras()
  dense = k["last/kernel:0"].reshape(2, 2, 2, 5).transpose(3, 2, 0, 1)
  return {
    "f.0.weight": k["first/kernel:0"][:, :, ::-1].transpose(3, 2, 0, 1).copy(),
    "f.0.bias": k["first/bias:0"],
    "c.0.weight": dense.reshape(5, 8).copy(),
    "c.0.bias": k["last/bias:0"],
  }


def _write(path, tensors):
  if path.suffix == ".npz":
    np.savez(path, **tensors)
  elif path.suffix == ".safetensors":
    safetensors.numpy.save_file(tensors, path)
  else:
    with h5py.File(path, "w") as file:
      for name, value in tensors.items():
        file[name] = value
  return path


def _message(path, layers=LAYERS) -> str:
  with pytest.raises(errors.InputError) as e:
    weights.read(path, layers)
  assert str(path) in str(e.value)
  return str(e.value)


def test_three_formats_give_the_same_tensors(tmp_path):
  files = [
    _write(tmp_path / "w.npz", _keras()),
    _write(tmp_path / "w.h5", _keras()),
    _write(
      tmp_path / "whole_model.h5",
      {f"model_weights/{n}": v for n, v in _keras().items()},
    ),
    _write(tmp_path / "w.safetensors", _torch()),
  ]
  expected, _ = weights.read(files[0], LAYERS)
  for path in files[1:]:
    found, _ = weights.read(path, LAYERS)
    for name in expected:
      np.testing.assert_array_equal(
        found[name]["kernel"], expected[name]["kernel"]
      )
      np.testing.assert_array_equal(found[name]["bias"], expected[name]["bias"])
  # Red comes first now, and was last in the Keras file.
  np.testing.assert_array_equal(
    expected["first"]["kernel"][0, 0, 0], _keras()["first/kernel:0"][0, 0, 2]
  )


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".pkl"])
def test_pickles_are_refused_unread(tmp_path, suffix):
  path = tmp_path / f"vgg16{suffix}"
  path.write_bytes(b"never read")
  message = _message(path)
  assert "run any program" in message
  assert "safetensors.torch.save_file" in message


class Trap:
  """Leaves a file behind when it is unpickled."""

  def __init__(self, path: pathlib.Path):
    self.path = path

  def __reduce__(self):
    return pathlib.Path.touch, (self.path,)


def test_pickled_arrays_in_npz_are_refused_unread(tmp_path):
  tensors = _keras()
  trap = Trap(tmp_path / "sprung")
  tensors["last/bias:0"] = np.array([trap] * 5, dtype=object)
  _message(_write(tmp_path / "w.npz", tensors))
  assert not trap.path.exists()


def test_unknown_suffix_names_the_known_ones(tmp_path):
  assert ".safetensors" in _message(tmp_path / "vgg16.onnx")


def test_missing_file(tmp_path):
  assert "no such" in _message(tmp_path / "vgg16.h5")


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".safetensors"])
def test_damaged_files(tmp_path, suffix):
  tensors = _torch() if suffix == ".safetensors" else _keras()
  path = _write(tmp_path / f"w{suffix}", tensors)
  data = path.read_bytes()
  for damaged in (b"", b"not a weights file", data[: len(data) // 2]):
    path.write_bytes(damaged)
    assert "damaged" in _message(path)


WRONG = {
  "shape": lambda v: np.zeros((7, *v.shape[1:]), np.float32),
  "type": lambda v: v.astype(np.int32),
  "nan": lambda v: np.where(
    np.arange(v.size).reshape(v.shape) == 0, np.nan, v
  ).astype(np.float32),
}
FOUND = {
  "shape": "found {f32} [7",
  "type": "found {i32} [",
  "nan": "found 1 that are infinite or not a number",
}


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".safetensors"])
@pytest.mark.parametrize("part", ["kernel:0", "bias:0"])
@pytest.mark.parametrize("mistake", ["shape", "type", "nan"])
def test_wrong_tensors_are_named(tmp_path, suffix, part, mistake):
  if suffix == ".safetensors":
    tensors = _torch()
    name = "c.0.weight" if part == "kernel:0" else "c.0.bias"
    short = {"f32": "F32", "i32": "I32"}
  else:
    tensors, name = _keras(), f"last/{part}"
    short = {"f32": "float32", "i32": "int32"}
  tensors[name] = WRONG[mistake](tensors[name])
  message = _message(_write(tmp_path / f"w{suffix}", tensors))
  assert name in message
  assert "expected" in message
  assert FOUND[mistake].format(**short) in message


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".safetensors"])
def test_missing_tensors_are_named_beside_what_is_there(tmp_path, suffix):
  tensors = _torch() if suffix == ".safetensors" else _keras()
  for name in list(tensors):
    if name.startswith(("last", "c.")):
      del tensors[name]
  message = _message(_write(tmp_path / f"w{suffix}", tensors))
  assert ("c.0.weight" if suffix == ".safetensors" else "last/") in message
  assert "[5, 8]" in message or "[8, 5]" in message
  assert ("f.0" if suffix == ".safetensors" else "first") in message


def test_layout_that_a_backbone_does_not_know_is_refused(tmp_path):
  path = _write(tmp_path / "w.safetensors", _torch())
  layers = (weights.Layer("first", ("first",), (1, 1, 3, 2)),)
  assert "Keras layout only" in _message(path, layers)


NORM = weights.Norm("norm_2", ("norm",), 3, "bn", counted=True)


def _norms(*numbers: str) -> dict[str, np.ndarray]:
  """Two normalisations under the numbers given; the second has 10 more."""
  found = {}
  for i, number in enumerate(numbers):
    for j, part in enumerate(("beta", "moving_mean", "moving_variance")):
      value = np.full(3, 10 * i + j, np.float32)
      found[f"norm{number}/{part}:0"] = value
  return found


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
@pytest.mark.parametrize("numbers", [("", "_1"), ("_1", "_2"), ("_9", "_10")])
def test_counted_layers_are_found_wherever_keras_began(
  tmp_path, suffix, numbers
):
  path = _write(tmp_path / f"w{suffix}", _norms(*numbers))
  found = weights.read(path, [NORM])[0]["norm_2"]
  expected = {"scale": 1, "bias": 10, "mean": 11, "variance": 12}
  for part, value in expected.items():
    np.testing.assert_array_equal(found[part], np.full(3, value, np.float32))


def test_both_layouts_hold_the_same_normalisation(tmp_path):
  tensors = _norms("_1", "_2") | {"norm_2/gamma:0": np.float32([7, 8, 9])}
  keras = weights.read(_write(tmp_path / "w.h5", tensors), [NORM])[0]
  torch = {
    "bn.weight": np.float32([7, 8, 9]),
    "bn.bias": np.full(3, 10, np.float32),
    "bn.running_mean": np.full(3, 11, np.float32),
    "bn.running_var": np.full(3, 12, np.float32),
  }
  found = weights.read(_write(tmp_path / "w.safetensors", torch), [NORM])[0]
  for part in ("scale", "bias", "mean", "variance"):
    np.testing.assert_array_equal(found["norm_2"][part], keras["norm_2"][part])


def test_missing_and_wrong_normalisations_are_named(tmp_path):
  one = _norms("_1")
  assert "'norm_2/beta' of shape [3]" in _message(
    _write(tmp_path / "one.h5", one), [NORM]
  )
  wrong = _norms("_1", "_2") | {"norm_2/moving_mean:0": np.ones(4, np.float32)}
  assert "moving_mean:0': expected float32 [3]; found float32 [4]" in _message(
    _write(tmp_path / "wrong.npz", wrong), [NORM]
  )


def test_an_archive_that_promises_too_much_is_not_unpacked(tmp_path):
  """NumPy would make room for 4 GB before it reads."""
  head = io.BytesIO()
  np.lib.format.write_array_header_1_0(
    head, {"descr": "<f4", "fortran_order": False, "shape": (1, 1, 3, 1 << 30)}
  )
  path = tmp_path / "w.npz"
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("first/kernel:0.npy", head.getvalue())
    archive.writestr("first/bias:0.npy", head.getvalue())
  assert "found float32 [1, 1, 3, 1073741824]" in _message(path)


@pytest.mark.parametrize("kind", ["external", "soft", "raw", "virtual"])
def test_weights_in_other_files_are_refused(tmp_path, kind):
  """Whoever wrote the file chose which file of the machine that is."""
  other = _write(tmp_path / "other.h5", _keras())
  path, shape = tmp_path / "w.h5", (1, 1, 3, 2)
  with h5py.File(path, "w") as file:
    if kind == "external":
      file["first"] = h5py.ExternalLink(str(other), "/first")
    elif kind == "soft":
      file["last"] = 0
      file["first"] = h5py.SoftLink("/last")
    elif kind == "raw":
      file.create_group("first").create_dataset(
        "kernel:0", shape, "f4", external=[(str(other), 0, 24)]
      )
    else:
      layout = h5py.VirtualLayout(shape, "f4")
      layout[:] = h5py.VirtualSource(str(other), "first/kernel:0", shape)
      file.create_group("first").create_virtual_dataset("kernel:0", layout)
  expected = "no link" if kind in ("external", "soft") else "found other files"
  assert expected in _message(path)
