"""The frozen image encoders by name, with their weights."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import hashlib
import importlib.resources
import json
import pathlib
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, UInt8
import numpy as np

from dicm_jax import errors
from dicm_jax.model import (
  download,
  encoder_file,
  encoders,
  inception,
  squeezenet,
  vgg,
)
from dicm_jax.model import weights as weights_lib

VERSION = 1
"""Grows whenever the same weights give other features: caches depend on it."""

TRAINED = "trained"
"""Stands for an encoder from a file of `encoder_file`."""

DTYPES = ("float32", "bfloat16")
"""Of an encoder's arithmetic."""

Scaling = tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cut:
  """An encoder up to the layer whose output is the feature vector."""

  width: Callable[[int], int]
  """Image size -> length of the feature vector."""
  build: Callable[..., nnx.Module]
  """Called with image_size, dtype, rngs, and what `Spec.by_layout` adds."""
  layers: Callable[[int], tuple[weights_lib.AnyLayer, ...]]
  """Image size -> the tensors of a weights file."""

  def frozen(
    self, *, image_size: int, dtype: str, seed: int, **options: Any
  ) -> nnx.Module:
    """Builds it; running averages are parameters like the rest."""
    net = self.build(
      image_size=image_size,
      dtype=jnp.dtype(dtype),
      rngs=nnx.Rngs(seed),
      **options,
    )
    net.eval()
    return net


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spec:
  """What there is to know of an encoder before it has weights."""

  image_size: int
  """Side in pixels of the pictures that published weights expect."""
  cuts: dict[str, Cut]
  """By the name of the last layer."""
  default_cut: str
  scaling: dict[weights_lib.Layout, Scaling]
  """Mean and factor of the colours for each layout of weights files."""
  by_layout: Mapping[weights_lib.Layout, Mapping[str, Any]] = dataclasses.field(
    default_factory=dict
  )
  """Arguments of `Cut.build` that go with a layout, where it needs any."""
  min_image_size: int = 32
  """The default is for five halvings, which leave nothing of less."""
  bundled: str = ""
  """File in the package's folder `pretrained`, and the default if there."""
  bundled_notice: str = ""
  published: download.Source | None = None
  """What the word "download" fetches."""


BACKBONES: dict[str, Spec] = {
  "inception_v3": Spec(
    image_size=inception.IMAGE_SIZE,
    cuts={
      inception.CUT: Cut(
        width=lambda _: inception.WIDTH,
        build=inception.InceptionV3,
        layers=inception.layers,
      )
    },
    default_cut=inception.CUT,
    scaling={"keras": inception.INPUT, "torchvision": inception.INPUT},
    by_layout={"keras": inception.NO_BORDER},
    min_image_size=inception.MIN_IMAGE_SIZE,
    published=download.Source(
      url="https://storage.googleapis.com/tensorflow/keras-applications/"
      "inception_v3/inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
      size_bytes=87_910_968,
      # As for vgg16 below.
      digest="bcbd6486424b2319ff4ef7d526e38f63",
      algorithm="md5",
    ),
  ),
  "squeezenet": Spec(
    image_size=squeezenet.IMAGE_SIZE,
    cuts={
      squeezenet.CUT: Cut(
        width=lambda _: squeezenet.WIDTH,
        build=squeezenet.SqueezeNet,
        layers=squeezenet.layers,
      )
    },
    default_cut=squeezenet.CUT,
    scaling={"keras": (squeezenet.KERAS_MEAN, (1.0, 1.0, 1.0))},
    bundled="squeezenet1_1_notop.h5",
    bundled_notice="bundled ImageNet weights (SqueezeNet 1.1, MIT licence)",
  ),
  "vgg16": Spec(
    image_size=vgg.IMAGE_SIZE,
    cuts={
      name: Cut(
        width=functools.partial(vgg.width, name),
        build=functools.partial(vgg.VGG16, cut=name),
        layers=functools.partial(vgg.layers, cut=name),
      )
      for name in vgg.CUTS
    },
    default_cut=vgg.CUT,
    scaling={"keras": vgg.KERAS_INPUT, "torchvision": vgg.TORCHVISION_INPUT},
    published=download.Source(
      url="https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
      "vgg16_weights_tf_dim_ordering_tf_kernels.h5",
      size_bytes=553_467_096,
      # keras.applications publishes no digest but this MD5. It guards against
      # damage and against a changed file, not against its own publisher.
      digest="64373286793e3c8b2b4e3219cbf3544b",
      algorithm="md5",
    ),
  ),
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Backbone:
  """An encoder with its weights."""

  name: str
  cut: str
  """The layer whose output is the feature vector."""
  image_size: int
  """Side of the square pictures in pixels."""
  width: int
  """Length F of the feature vector."""
  dtype: str
  """Of the arithmetic, and of features that a step keeps for the way back."""
  graphdef: nnx.GraphDef
  params: PyTree
  """Nested dicts of arrays."""
  digest: str
  """Hexadecimal SHA-256 of all that decides the features of a picture."""
  notice: str
  """What every report has to say about the weights."""

  def apply(
    self, params: PyTree, images: UInt8[Array, "K H W 3"]
  ) -> Float[Array, "K F"]:
    """Encodes pictures; pure, for use inside jit and shard_map.

    Args:
      params: as `self.params`, passed in so that it is no constant of the
        compiled program.
      images: uint8 [K, image_size, image_size, 3] in RGB order.

    Returns:
      float32 [K, width].
    """
    return nnx.merge(self.graphdef, params)(images)


def make(
  name: str,
  *,
  cut: str = "",
  weights: str = "",
  seed: int = 0,
  dtype: str = "float32",
  image_size: int | None = None,
) -> Backbone:
  """Builds an encoder and gives it its weights.

  Args:
    name: a key of `BACKBONES`, or `TRAINED` for an encoder of our own.
    cut: the last layer, a key of the encoder's `Spec.cuts`; "" for its default.
      Those above it are neither built nor asked of a weights file.
    weights: "" for the bundled ones, or random ones where none are bundled;
      "random"; "download" for the published ones; or the path of a file
      (.safetensors, .h5, .npz: see `weights.read`). With `TRAINED`, the file
      or the folder of the run that made it.
    seed: of random weights.
    dtype: of the arithmetic: "float32" or "bfloat16".
    image_size: side of the pictures in pixels; None for the published size.

  Raises:
    errors.InputError: unknown name, cut or dtype, too small a picture, or
      weights that do not fit.
  """
  if dtype not in DTYPES:
    raise errors.unknown_name("dtype", dtype, DTYPES)
  if name == TRAINED:
    if dtype != "float32":
      raise errors.InputError(
        f"dtype of a trained encoder: expected 'float32', found {dtype!r}"
      )
    return _from_file(weights, cut)
  if name not in BACKBONES:
    raise errors.unknown_name("backbone", name, [*BACKBONES, TRAINED])
  spec, cut = BACKBONES[name], cut_of(name, cut)
  part = spec.cuts[cut]
  size = spec.image_size if image_size is None else image_size
  if size < spec.min_image_size:
    raise errors.InputError(
      f"{name}: expected image_size of at least {spec.min_image_size}; found"
      f" {size}"
    )
  layers = part.layers(size)
  tensors, layout, notice = _tensors(name, spec, weights, layers, seed)
  options = spec.by_layout.get(layout, {})

  build = functools.partial(
    part.frozen, image_size=size, dtype=dtype, seed=seed, **options
  )
  graphdef, state = nnx.split(nnx.eval_shape(build))
  params = _fill(nnx.to_pure_dict(state), layers, tensors, spec.scaling[layout])
  # Random numbers differ in their last bits between devices: hash the seed.
  drawn = _is_random(spec, weights)
  identity = f"random {seed}" if drawn else _hash(params)
  # The default goes without saying: so it did when there was no other cut.
  label = name if cut == spec.default_cut else f"{name} to {cut}"
  key = f"{label} {size} {dtype} {VERSION} {identity}"
  if options:  # Not among the numbers, but they change the features.
    key += f" {sorted(options.items())}"
  return Backbone(
    name=name,
    cut=cut,
    image_size=size,
    width=part.width(size),
    dtype=dtype,
    graphdef=graphdef,
    params=params,
    digest=hashlib.sha256(key.encode()).hexdigest(),
    notice=f"{label}: {notice}",
  )


def cut_of(name: str, cut: str) -> str:
  """The cut that is meant, "" being the encoder's default.

  Args:
    name: a key of `BACKBONES`.
    cut: of it, or "".

  Raises:
    errors.InputError: it has no such cut.
  """
  spec = BACKBONES[name]
  cut = cut or spec.default_cut
  if cut not in spec.cuts:
    raise errors.unknown_name(f"cut of {name}", cut, spec.cuts)
  return cut


def weights_file(name: str, weights: str) -> pathlib.Path:
  """The file that `weights` stands for, fetched if it is "download".

  Args:
    name: a key of `BACKBONES`.
    weights: "download" or a path.

  Raises:
    errors.InputError: nothing is published, or it cannot be fetched.
  """
  if weights != "download":
    return pathlib.Path(weights)
  published = BACKBONES[name].published
  if published is None:
    raise errors.InputError(
      f"{name}: there is nothing to download; leave the weights empty for"
      " the bundled ones"
    )
  return download.fetch(published, download.cache_dir())


def trained(config: encoders.EncoderConfig, params: PyTree) -> Backbone:
  """A trained encoder as it stands, frozen.

  Args:
    config: its shape.
    params: nested dicts: parameters and running averages.
  """

  def build() -> nnx.Module:
    encoder = encoders.make(config, rngs=nnx.Rngs(0))
    encoder.eval()
    return encoder

  shape = json.dumps(dataclasses.asdict(config), sort_keys=True)
  key = f"{TRAINED} {shape} {VERSION} {_hash(params)}"
  return Backbone(
    name=TRAINED,
    cut="",
    image_size=config.image_size,
    width=config.width,
    dtype="float32",
    graphdef=nnx.split(nnx.eval_shape(build))[0],
    params=jax.tree.map(jnp.asarray, params),
    digest=hashlib.sha256(key.encode()).hexdigest(),
    notice=f"{config.name}, trained by a run of configs/pairwise.py",
  )


def _from_file(weights: str, cut: str) -> Backbone:
  if cut:
    raise errors.InputError(
      f"cut of a trained encoder: expected '', found {cut!r}"
    )
  if not weights:
    raise errors.InputError(
      "weights of a trained encoder: expected its file or the folder of the "
      "run that made it, found ''"
    )
  return trained(*encoder_file.read(pathlib.Path(weights)))


def _is_random(spec: Spec, weights: str) -> bool:
  return weights == "random" or (not weights and not spec.bundled)


def _tensors(
  name: str,
  spec: Spec,
  weights: str,
  layers: Sequence[weights_lib.AnyLayer],
  seed: int,
) -> tuple[dict[str, weights_lib.Tensors], weights_lib.Layout, str]:
  """Finds what `weights` stands for: tensors, layout, notice."""
  if _is_random(spec, weights):
    layout = "torchvision" if "torchvision" in spec.scaling else "keras"
    notice = (
      f"RANDOM WEIGHTS (seed {seed}): the features are untrained and say"
      " little about the pictures"
    )
    return weights_lib.random(layers, seed), layout, notice
  if not weights:
    folder = importlib.resources.files("dicm_jax.model") / "pretrained"
    with importlib.resources.as_file(folder / spec.bundled) as path:
      return *weights_lib.read(path, layers), spec.bundled_notice
  path = weights_file(name, weights)
  tensors, layout = weights_lib.read(path, layers)
  if weights == "download":
    return tensors, layout, f"ImageNet weights ({path.name})"
  return tensors, layout, f"weights from {path.name} ({layout} layout)"


def _fill(
  params: dict[str, Any],
  layers: Sequence[weights_lib.AnyLayer],
  tensors: dict[str, weights_lib.Tensors],
  scaling: Scaling,
) -> PyTree:
  """Puts arrays in the place of shapes."""
  weights_lib.fill(params, layers, tensors)
  mean, scale = scaling
  params["normalise"] = {
    "mean": np.array(mean, np.float32),
    "scale": np.array(scale, np.float32),
  }
  return jax.tree.map(jnp.asarray, params)


def _hash(params: PyTree) -> str:
  """Hashes the numbers, so that one set of weights has one digest in any file.

  Names and shapes are left out: `name`, `cut` and `image_size` fix them.
  """
  digest = hashlib.sha256()
  for leaf in jax.tree.leaves(params):
    digest.update(np.ascontiguousarray(leaf).data)
  return digest.hexdigest()
