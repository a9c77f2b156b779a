"""Weights of frozen encoders: from .safetensors, .h5, .npz, or random.

Nothing here unpickles: a weights file can be wrong, but it cannot run code.
Keras files name a layer `block1_conv1` and hold its kernel as [H, W, in, out]
for BGR pictures; torchvision files name it `features.0` and hold
[out, in, H, W] for RGB. What leaves this file is always [H, W, in, out], RGB.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import math
import pathlib
import re
from typing import Any, Literal

import h5py
import jax
from jaxtyping import Float
import numpy as np

from dicm_jax import errors
from dicm_jax.model import weights_file

Layout = Literal["keras", "torchvision"]

Tensors = dict[str, Float[np.ndarray, "..."]]
"""Arrays of one layer, float32, in our order, by their names in the module."""


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
  """Whether its input channels are colours that Keras orders BGR."""
  bias: bool = True
  """Whether it has one."""
  counted: bool = False
  """Whether Keras gave the name by counting: `dense_3` is its third."""


@dataclasses.dataclass(frozen=True)
class Norm:
  """One batch normalisation and its names in weights files."""

  keras: str
  """Layer name in Keras files."""
  path: tuple[str, ...]
  """Where `scale`, `bias`, `mean` and `variance` sit in the parameter tree."""
  channels: int
  torch: str = ""
  """Prefix in torchvision files; empty: that layout does not fit."""
  counted: bool = False
  """As in `Layer`."""


AnyLayer = Layer | Norm

# Part, its name in torchvision files, in Keras files, its first value.
_NORM = (
  ("scale", "weight", "gamma", 1.0),
  ("bias", "bias", "beta", 0.0),
  ("mean", "running_mean", "moving_mean", 0.0),
  ("variance", "running_var", "moving_variance", 1.0),
)


def read(
  path: pathlib.Path, layers: Sequence[AnyLayer]
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
  weights_file.check_suffix(path)
  layout: Layout = "torchvision" if path.suffix == ".safetensors" else "keras"
  with weights_file.opened(path) as source:
    one = _torch_layer if layout == "torchvision" else _keras_layer
    return {layer.keras: one(path, source, layer) for layer in layers}, layout


def random(layers: Sequence[AnyLayer], seed: int) -> dict[str, Tensors]:
  """Draws He-normal kernels; normalisations leave their inputs as they are.

  Args:
    layers: what the network needs.
    seed: the same seed draws the same numbers.

  Returns:
    Tensors by Keras layer name.

  Source: He et al. (arXiv 1502.01852), equation 10.
  """
  sizes = [
    math.prod(layer.kernel) if isinstance(layer, Layer) else 0
    for layer in layers
  ]
  # One draw for all layers: one compilation instead of one a shape.
  normal = np.asarray(jax.random.normal(jax.random.key(seed), (sum(sizes),)))
  ends = np.cumsum(sizes)
  found = {}
  for layer, end, size in zip(layers, ends, sizes, strict=True):
    found[layer.keras] = _first(layer, normal[end - size : end])
  return found


def _first(layer: AnyLayer, normal: np.ndarray) -> Tensors:
  if isinstance(layer, Norm):
    return {
      part: np.full(layer.channels, value, np.float32)
      for part, _, _, value in _NORM
    }
  std = math.sqrt(2 / math.prod(layer.kernel[:-1]))
  found = {"kernel": normal.reshape(layer.kernel) * np.float32(std)}
  if layer.bias:
    found["bias"] = np.zeros(layer.kernel[-1], np.float32)
  return found


def fill(
  params: dict[str, Any],
  layers: Sequence[AnyLayer],
  tensors: Mapping[str, Tensors],
) -> None:
  """Puts tensors in their layers' places, in place.

  Args:
    params: nested dicts, as `nnx.to_pure_dict` gives them.
    layers: what the network needs.
    tensors: by Keras layer name, as `read` and `random` give them.
  """
  for layer in layers:
    place = params
    for key in layer.path:
      place = place[key]
    place.update(tensors[layer.keras])


def _torch_layer(path: pathlib.Path, source: Any, layer: AnyLayer) -> Tensors:
  if not layer.torch:
    raise errors.InputError(
      f"{path}: this backbone reads weights in Keras layout only (.h5, .npz)"
    )
  if isinstance(layer, Norm):
    return {
      part: _slice(path, source, f"{layer.torch}.{name}", (layer.channels,))
      for part, name, _, _ in _NORM
    }
  shape = layer.kernel
  axes = (3, 2, 0, 1) if len(shape) == 4 else (1, 0)
  name = f"{layer.torch}.weight"
  kernel = _slice(path, source, name, tuple(shape[a] for a in axes))
  kernel = kernel.transpose(np.argsort(axes))
  if layer.flattened is not None:
    # torch flattens [C, H, W], we flatten [H, W, C].
    h, w, c = layer.flattened
    kernel = kernel.reshape(c, h, w, -1).transpose(1, 2, 0, 3)
    kernel = kernel.reshape(shape)
  found = {"kernel": np.ascontiguousarray(kernel)}
  if layer.bias:
    found["bias"] = _slice(path, source, f"{layer.torch}.bias", shape[-1:])
  return found


def _slice(
  path: pathlib.Path, source: Any, name: str, shape: tuple[int, ...]
) -> np.ndarray:
  if name not in source.keys():  # noqa: SIM118 (a safetensors file has no `in`)
    raise weights_file.missing(path, name, shape, source.keys())
  # The header's shape is compared before anything is read.
  found = source.get_slice(name)
  weights_file.check(
    path, name, shape, tuple(found.get_shape()), found.get_dtype()
  )
  return weights_file.finite(path, name, source.get_tensor(name))


def _keras_layer(path: pathlib.Path, source: Any, layer: AnyLayer) -> Tensors:
  name = _counted(source, layer.keras) if layer.counted else layer.keras
  members = _members(source, name)
  if isinstance(layer, Norm):
    return _keras_norm(path, source, layer, name, members)
  by_ndim = {len(value.shape): key for key, value in members.items()}
  found = {}
  parts = {"kernel": layer.kernel, "bias": layer.kernel[-1:]}
  for part in ("kernel", "bias") if layer.bias else ("kernel",):
    # Keras versions spell it kernel:0, block1_conv1_W_1:0, uniform1, ...
    key = by_ndim.get(len(parts[part]))
    if key is None:
      raise weights_file.missing(
        path, f"{name}/{part}", parts[part], members or source
      )
    found[part] = weights_file.checked(path, key, members[key], parts[part])
  if layer.sees_image:
    found["kernel"] = np.ascontiguousarray(found["kernel"][:, :, ::-1])
  return found


def _keras_norm(
  path: pathlib.Path,
  source: Any,
  layer: Norm,
  name: str,
  members: Mapping[str, Any],
) -> Tensors:
  keys = {key.rpartition("/")[2].partition(":")[0]: key for key in members}
  shape = (layer.channels,)
  found = {}
  for part, _, keras, value in _NORM:
    if keras in keys:
      key = keys[keras]
      found[part] = weights_file.checked(path, key, members[key], shape)
    elif part == "scale":  # Keras may do without (scale=False).
      found[part] = np.full(shape, value, np.float32)
    else:
      raise weights_file.missing(
        path, f"{name}/{keras}", shape, members or source
      )
  return found


def _counted(source: Any, name: str) -> str:
  """The layer of the file that is what `dense_3` counts: the third dense one.

  Keras versions call the first `dense` or `dense_1`, and go on counting where
  a process makes a second network.
  """
  stem, _, rank = name.rpartition("_")
  pattern = re.compile(rf"{re.escape(stem)}(?:_(\d+))?")
  numbers = {
    int(match[1] or 0): match[0]
    for key in source
    if (match := pattern.fullmatch(key.partition("/")[0]))
  }
  ranked = sorted(numbers)
  return numbers[ranked[int(rank) - 1]] if int(rank) <= len(ranked) else name


def _members(source: Any, layer: str) -> dict[str, Any]:
  """Finds every array whose name starts with the layer's name."""
  if isinstance(source, weights_file.Archive):
    names = [n for n in source if n.startswith(f"{layer}/")]
    return {name: source[name] for name in names}
  found: dict[str, Any] = {}

  def note(name: str, item: Any) -> None:
    if isinstance(item, h5py.Dataset):
      found[f"{layer}/{name}"] = weights_file.own(item)

  group = weights_file.group(source, layer)
  if group is not None:
    group.visititems(note)
  return found
