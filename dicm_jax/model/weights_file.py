"""Opens files of weights; what is wrong with one is an InputError.

Nothing here unpickles: a weights file can be wrong, but it cannot run code.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import io
import pathlib
from typing import Any, cast
import zipfile

import h5py
import numpy as np
import safetensors

from dicm_jax import errors

_PICKLED = (".bin", ".ckpt", ".pkl", ".pickle", ".pt", ".pth")
_FLOATS = ("f16", "f32", "f64", "float16", "float32", "float64")
_HEADS = {
  (1, 0): np.lib.format.read_array_header_1_0,
  (2, 0): np.lib.format.read_array_header_2_0,
}
"""Of arrays, by the version of the format."""
_KNOWN = (".h5", ".hdf5", ".npz", ".safetensors")


def check_suffix(path: pathlib.Path) -> None:
  """Refuses files that are missing, pickled or of an unknown kind.

  Raises:
    errors.InputError: says which, and what to do.
  """
  if path.suffix in _PICKLED:
    raise errors.InputError(
      f"{path}: {path.suffix} files are pickles, which can run any program"
      " when read; convert it once where you trust it: safetensors.torch."
      "save_file(torch.load(FILE, weights_only=True), 'weights.safetensors')"
    )
  if path.suffix not in _KNOWN:
    raise errors.InputError(
      f"{path}: unknown kind of weights file {path.suffix!r}; expected one of"
      f" {', '.join(_KNOWN)}, or the word 'random' or 'download'"
    )
  if not path.is_file():
    raise errors.InputError(f"{path}: no such weights file")


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[Any]:
  """Yields the open file: of safetensors, `Archive`, or h5py's object.

  Raises:
    errors.InputError: damage, also that found while reading from it.
  """
  try:
    if path.suffix == ".safetensors":
      with safetensors.safe_open(path, framework="np") as source:
        yield source
    elif path.suffix == ".npz":
      with path.open("rb") as file:
        yield Archive(file)
    else:
      with h5py.File(path, "r") as source:
        # `model.save` puts one folder around what `save_weights` writes.
        inner = group(source, "model_weights")
        yield source if inner is None else inner
  except errors.InputError:
    raise
  except (
    safetensors.SafetensorError,
    zipfile.BadZipFile,
    EOFError,
    KeyError,
    OSError,
    RuntimeError,
    ValueError,
  ) as e:
    raise errors.InputError(f"{path}: damaged weights file: {e}") from e


class Archive(Mapping[str, "_Array"]):
  """Arrays of a .npz file, none of them unpacked before it is asked for.

  np.load makes room for what the archive says it holds, however much that is.
  """

  def __init__(self, file: io.BufferedIOBase):
    self._zip = zipfile.ZipFile(file)
    self._names = {
      name.removesuffix(".npy"): name for name in self._zip.namelist()
    }

  def __getitem__(self, key: str) -> "_Array":
    return _Array(self._zip, self._names[key])

  def __iter__(self) -> Iterator[str]:
    return iter(self._names)

  def __len__(self) -> int:
    return len(self._names)


class _Array:
  """What the head of an array says; NumPy's `asarray` reads the rest."""

  def __init__(self, archive: zipfile.ZipFile, name: str):
    self._zip, self._name = archive, name
    with self._open() as file:
      version = np.lib.format.read_magic(file)
      if version not in _HEADS:
        raise ValueError(f"{name}: an array of unknown version {version}")
      self.shape, _, self.dtype = _HEADS[version](file)

  def _open(self) -> io.BufferedIOBase:
    method = self._zip.getinfo(self._name).compress_type
    if method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
      raise ValueError(f"{self._name}: expected deflate, found method {method}")
    # typing.IO, which is declared, is no class of it.
    return cast(io.BufferedIOBase, self._zip.open(self._name))

  def __array__(self, dtype=None, copy=None) -> np.ndarray:
    with self._open() as file:
      found = np.lib.format.read_array(file, allow_pickle=False)
    return found if dtype is None else found.astype(dtype, copy=bool(copy))


def group(source: h5py.Group, name: str) -> h5py.Group | None:
  """A group within a group; None: there is none of the name.

  Raises:
    ValueError: it is a link, which may lead to any file of the machine.
  """
  link = source.get(name, getlink=True)
  if link is not None and not isinstance(link, h5py.HardLink):
    raise ValueError(f"{name!r}: expected no link, found one")
  found = source.get(name)
  return found if isinstance(found, h5py.Group) else None


def own(dataset: h5py.Dataset) -> h5py.Dataset:
  """The dataset, if its numbers lie in the file itself.

  Raises:
    ValueError: they lie in other files of the machine.
  """
  if dataset.external or dataset.is_virtual:
    raise ValueError(f"{dataset.name!r}: expected numbers, found other files")
  return dataset


def check(
  path: pathlib.Path,
  name: str,
  shape: tuple[int, ...],
  found: tuple[int, ...],
  dtype: str,
) -> None:
  """Refuses a tensor that is not of the shape `shape` or not of floats."""
  if found != shape or dtype.lower() not in _FLOATS:
    raise errors.InputError(
      f"{path}: tensor {name!r}: expected float32 {list(shape)}; found"
      f" {dtype} {list(found)}"
    )


def checked(
  path: pathlib.Path, name: str, value: Any, shape: tuple[int, ...]
) -> np.ndarray:
  """Returns an array of the file as float32, if nothing is wrong with it."""
  check(path, name, shape, tuple(value.shape), str(value.dtype))
  return finite(path, name, np.asarray(value))


def finite(path: pathlib.Path, name: str, value: np.ndarray) -> np.ndarray:
  """Returns the tensor as float32; refuses infinities and what is no number."""
  value = value.astype(np.float32)
  wrong = value.size - int(np.isfinite(value).sum())
  if wrong:
    raise errors.InputError(
      f"{path}: tensor {name!r}: expected finite numbers; found {wrong} that"
      " are infinite or not a number"
    )
  return value


def missing(
  path: pathlib.Path, name: str, shape: Sequence[int], found: Any
) -> errors.InputError:
  """Says that a tensor is not there, beside some that are."""
  some = sorted(str(key) for key in found)
  more = ", ..." if len(some) > 6 else ""
  return errors.InputError(
    f"{path}: expected tensor {name!r} of shape {list(shape)}; found only"
    f" {', '.join(some[:6]) or 'nothing'}{more}"
  )
