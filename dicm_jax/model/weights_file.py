"""Opens files of weights; what is wrong with one is an InputError.

Nothing here unpickles: a weights file can be wrong, but it cannot run code.
"""

from collections.abc import Iterator, Sequence
import contextlib
import pathlib
from typing import Any
import zipfile

import h5py
import numpy as np
import safetensors

from dicm_jax import errors

_PICKLED = (".bin", ".ckpt", ".pkl", ".pickle", ".pt", ".pth")
_FLOATS = ("f16", "f32", "f64", "float16", "float32", "float64")
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
  """Yields the open file: safetensors, NumPy's or h5py's object.

  Raises:
    errors.InputError: damage, also that found while reading from it.
  """
  try:
    if path.suffix == ".safetensors":
      with safetensors.safe_open(path, framework="np") as source:
        yield source
    elif path.suffix == ".npz":
      # np.load leaves a file that it opened itself open when it is damaged.
      with path.open("rb") as file:
        source = np.load(file, allow_pickle=False)
        if isinstance(source, np.ndarray):
          raise ValueError("a single array, not an archive of arrays")
        yield source
    else:
      with h5py.File(path, "r") as source:
        # `model.save` puts one folder around what `save_weights` writes.
        yield source.get("model_weights", source)
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
