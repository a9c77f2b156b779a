"""Weights of frozen encoders: from .safetensors, .h5, .npz, or random.

Nothing here unpickles: a weights file can be wrong, but it cannot run code.
Keras files name a layer `block1_conv1` and hold its kernel as [H, W, in, out]
for BGR pictures; torchvision files name it `features.0` and hold
[out, in, H, W] for RGB. What leaves this file is always [H, W, in, out], RGB.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import dataclasses
import math
import pathlib
from typing import Any, Literal
import zipfile

import h5py
import jax
from jaxtyping import Float
import numpy as np
import safetensors

from dicm_jax import errors

Layout = Literal["keras", "torchvision"]

_PICKLED = (".bin", ".ckpt", ".pkl", ".pickle", ".pt", ".pth")
_KNOWN = (".h5", ".hdf5", ".npz", ".safetensors")


@dataclasses.dataclass(frozen=True)
class Layer:
  """One convolution or dense layer and its names in weights files."""

  keras: str
  """Layer name in Keras files."""
  path: tuple[str, ...]
  """Where its `kernel` and `bias` sit in the parameter tree."""
  kernel: tuple[int, ...]
  """Shape [H, W, in, out] of a convolution or [in, out] of a dense layer."""
  torch: str = ""
  """Prefix in torchvision files; empty: that layout does not fit."""
  flattened: tuple[int, int, int] | None = None
  """[H, W, C] of the picture that a dense layer sees as one vector."""
  sees_image: bool = False
  """Whether its input channels are colours, which Keras orders BGR."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Tensors:
  """Kernel and bias of one layer, float32, in our order."""

  kernel: Float[np.ndarray, "..."]
  bias: Float[np.ndarray, " out"]


def read(
  path: pathlib.Path, layers: Sequence[Layer]
) -> tuple[dict[str, Tensors], Layout]:
  """Reads the layers asked for; others in the file are left alone.

  Args:
    path: a .safetensors file with torchvision's names, or a Keras .h5 file
      (`save_weights` or `save`), or a .npz with Keras names
      (`block1_conv1/kernel`, `block1_conv1/bias`).
    layers: what the network needs.

  Returns:
    Tensors by Keras layer name, and the layout, which decides how pictures
    have to be scaled.

  Raises:
    errors.InputError: the file is missing, damaged, pickled, of an unknown
      kind, or lacks a tensor of the right shape and type. The message names
      file, tensor, what was expected and what was found.
  """
  _check_suffix(path)
  layout: Layout = "torchvision" if path.suffix == ".safetensors" else "keras"
  with _opened(path) as source:
    one = _torch_layer if layout == "torchvision" else _keras_layer
    return {layer.keras: one(path, source, layer) for layer in layers}, layout


def random(layers: Sequence[Layer], seed: int) -> dict[str, Tensors]:
  """Draws He-normal kernels; biases are zero.

  Args:
    layers: what the network needs.
    seed: the same seed draws the same numbers.

  Returns:
    Tensors by Keras layer name.

  Source: He et al. (arXiv 1502.01852), equation 10.
  """
  sizes = [math.prod(layer.kernel) for layer in layers]
  # One draw for all layers: one compilation instead of one a shape.
  normal = np.asarray(jax.random.normal(jax.random.key(seed), (sum(sizes),)))
  ends = np.cumsum(sizes)
  found = {}
  for layer, end, size in zip(layers, ends, sizes, strict=True):
    std = math.sqrt(2 / math.prod(layer.kernel[:-1]))
    kernel = normal[end - size : end].reshape(layer.kernel) * np.float32(std)
    bias = np.zeros(layer.kernel[-1], np.float32)
    found[layer.keras] = Tensors(kernel=kernel, bias=bias)
  return found


def _check_suffix(path: pathlib.Path) -> None:
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
def _opened(path: pathlib.Path) -> Iterator[Any]:
  """Yields the open file; damage found while reading is an InputError."""
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


def _torch_layer(path: pathlib.Path, source: Any, layer: Layer) -> Tensors:
  if not layer.torch:
    raise errors.InputError(
      f"{path}: this backbone reads weights in Keras layout only (.h5, .npz)"
    )
  shape = layer.kernel
  axes = (3, 2, 0, 1) if len(shape) == 4 else (1, 0)
  name = f"{layer.torch}.weight"
  kernel = _slice(path, source, name, tuple(shape[a] for a in axes))
  bias = _slice(path, source, f"{layer.torch}.bias", shape[-1:])
  kernel = kernel.transpose(np.argsort(axes))
  if layer.flattened is not None:
    # torch flattens [C, H, W], we flatten [H, W, C].
    h, w, c = layer.flattened
    kernel = kernel.reshape(c, h, w, -1).transpose(1, 2, 0, 3)
    kernel = kernel.reshape(shape)
  return Tensors(kernel=np.ascontiguousarray(kernel), bias=bias)


def _slice(
  path: pathlib.Path, source: Any, name: str, shape: tuple[int, ...]
) -> np.ndarray:
  if name not in source.keys():  # noqa: SIM118 (a safetensors file has no `in`)
    raise _missing(path, name, shape, source.keys())
  # The header's shape is compared before anything is read.
  found = source.get_slice(name)
  _check(path, name, shape, tuple(found.get_shape()), found.get_dtype())
  return _finite(path, name, source.get_tensor(name))


def _keras_layer(path: pathlib.Path, source: Any, layer: Layer) -> Tensors:
  members = _members(source, layer.keras)
  by_ndim = {len(value.shape): name for name, value in members.items()}
  found = {}
  for part, shape in (("kernel", layer.kernel), ("bias", layer.kernel[-1:])):
    # Keras versions spell it kernel:0, block1_conv1_W_1:0, uniform1, ...
    name = by_ndim.get(len(shape))
    if name is None:
      raise _missing(path, f"{layer.keras}/{part}", shape, members or source)
    value = members[name]
    _check(path, name, shape, tuple(value.shape), str(value.dtype))
    found[part] = _finite(path, name, np.asarray(value))
  if layer.sees_image:
    found["kernel"] = np.ascontiguousarray(found["kernel"][:, :, ::-1])
  return Tensors(**found)


def _members(source: Any, layer: str) -> dict[str, Any]:
  """Finds every array whose name starts with the layer's name."""
  if isinstance(source, Mapping) and not isinstance(source, h5py.Group):
    names = [n for n in source if n.startswith(f"{layer}/")]
    return {name: source[name] for name in names}
  found: dict[str, Any] = {}

  def note(name: str, item: Any) -> None:
    if isinstance(item, h5py.Dataset):
      found[f"{layer}/{name}"] = item

  group = source.get(layer)
  if isinstance(group, h5py.Group):
    group.visititems(note)
  return found


def _check(
  path: pathlib.Path,
  name: str,
  shape: tuple[int, ...],
  found: tuple[int, ...],
  dtype: str,
) -> None:
  if found != shape or dtype.lower() not in _FLOATS:
    raise errors.InputError(
      f"{path}: tensor {name!r}: expected float32 {list(shape)}; found"
      f" {dtype} {list(found)}"
    )


_FLOATS = ("f16", "f32", "f64", "float16", "float32", "float64")


def _finite(path: pathlib.Path, name: str, value: np.ndarray) -> np.ndarray:
  value = value.astype(np.float32)
  wrong = value.size - int(np.isfinite(value).sum())
  if wrong:
    raise errors.InputError(
      f"{path}: tensor {name!r}: expected finite numbers; found {wrong} that"
      " are infinite or not a number"
    )
  return value


def _missing(
  path: pathlib.Path, name: str, shape: Sequence[int], found: Any
) -> errors.InputError:
  some = sorted(str(key) for key in found)
  more = ", ..." if len(some) > 6 else ""
  return errors.InputError(
    f"{path}: expected tensor {name!r} of shape {list(shape)}; found only"
    f" {', '.join(some[:6]) or 'nothing'}{more}"
  )
