"""A run's config as frozen dataclasses, made from a file of configs/."""

from collections.abc import Mapping
import dataclasses
import hashlib
import json
from typing import Any

from dicm_jax import errors, optim
from dicm_jax.model import config as model_config
from dicm_jax.model import nets

FREE_TO_CHANGE = (
  "mesh.",
  "train.steps",
  "train.log_every_steps",
  "checkpoint.",
)
"""Beginnings of keys that a restarted run may change in its workdir."""
WARM_UP_MODES = ("none", "partial", "full")
IMAGE_MODES = ("features", "pixels")
_TUPLES = {tuple[int, ...]: int, tuple[str, ...]: str}
MAX_SEED = 2**32 - 1  # JAX's keys and NumPy's generators both take it.
MAX_INT = 2**31 - 1  # Steps and row numbers are 32-bit on the device.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
  path: str
  """Folder of a prepared data set; empty: the built-in sample."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mesh:
  worker: int
  """Devices along `worker`; -1: all the rest."""
  server: int
  """Devices along `server`; -1: all the rest."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
  steps: int
  batch_size: int
  """Samples of a step, over all devices."""
  log_every_steps: int
  id_dropout: float
  """Probability that a training sample's id counts as unknown; 0: never."""
  id_dropout_fields: tuple[str, ...]
  """ID fields of the ad side to which that happens."""

  def __post_init__(self):
    if not 0 <= self.id_dropout <= 1:
      raise errors.InputError(
        f"train.id_dropout: expected 0 to 1, found {self.id_dropout}"
      )


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmUp:
  """Where a run without checkpoints of its own gets its first values."""

  mode: str
  """none; partial: all but the ID embeddings; full: all."""
  workdir: str
  """Folder of another run; empty with none.

  It decides the result as `data.path` does, so it is in the digest as well.
  """

  def __post_init__(self):
    if self.mode not in WARM_UP_MODES:
      raise errors.unknown_name("warm_up.mode", self.mode, WARM_UP_MODES)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Image:
  backbone: str
  cut: str
  """Layer whose output is an image's features; empty: the backbone's own."""
  weights: str
  """File, "download", "random", or empty for what is bundled."""
  mode: str
  """features: encoded once; pixels: the backbone runs in every step."""
  chunk: int
  """Images that an owner embeds at a time."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
  every_steps: int
  keep: int
  """How many of the newest are kept."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """Everything that decides a run."""

  seed: int
  data: Data
  mesh: Mesh
  train: Train
  warm_up: WarmUp
  image: Image
  model: model_config.ModelConfig
  sparse_optimizer: optim.SparseConfig
  dense_optimizer: optim.DenseConfig
  checkpoint: Checkpoint

  def __post_init__(self):
    if self.image.mode not in IMAGE_MODES:
      raise errors.unknown_name("image.mode", self.image.mode, IMAGE_MODES)
    nets.check(self.model)
    positive = ("train.", "image.chunk", "model.id_width", "checkpoint.")
    for key, value in flatten(self).items():
      if key.startswith(positive) and isinstance(value, int) and value < 1:
        raise errors.InputError(f"{key}: expected >= 1, found {value}")
      most = MAX_SEED if key == "seed" else MAX_INT
      if isinstance(value, int) and value > most:
        raise errors.InputError(f"{key}: expected <= {most}, found {value}")
    if self.seed < 0:
      raise errors.InputError(f"seed: expected >= 0, found {self.seed}")


def from_dict(values: Any) -> Config:
  """Makes a config of nested mappings, such as `ConfigDict.to_dict()`.

  Raises:
    InputError: a key is missing or unknown, or a value is of another type or
      out of range.
  """
  return _build(Config, values, "")


def _build(kind, values: Any, prefix: str):
  """Builds the dataclass `kind`; `prefix` is the dotted path to it."""
  if not isinstance(values, Mapping):
    what = prefix.rstrip(".") or "config"
    raise errors.InputError(f"{what}: expected a section, found {values!r}")
  fields = {field.name: field for field in dataclasses.fields(kind)}
  for key in values:
    if key not in fields:
      raise errors.unknown_name(
        "config key", prefix + key, _dotted(kind, prefix)
      )
  made = {}
  for name, field in fields.items():
    if name not in values:
      raise errors.InputError(f"config key {prefix}{name} is missing")
    if dataclasses.is_dataclass(field.type):
      made[name] = _build(field.type, values[name], f"{prefix}{name}.")
    else:
      made[name] = _typed(field.type, values[name], prefix + name)
  try:
    return kind(**made)
  except errors.InputError as e:
    if prefix in str(e):
      raise
    # Of two sections of one kind neither knows its own name.
    raise errors.InputError(f"{prefix.rstrip('.')}: {e}") from e


def _typed(kind, value: Any, key: str):
  """The value of a plain field, once it is known to be of the field's type."""
  if kind is float and type(value) is int:
    return float(value)
  if kind in _TUPLES:
    # JSON knows no tuples, and dataclasses are to be hashable.
    value = tuple(value) if isinstance(value, list) else value
    of = _TUPLES[kind]
    fits = type(value) is tuple and all(type(part) is of for part in value)
    expected = f"a tuple of {of.__name__}"
  else:
    fits, expected = type(value) is kind, kind.__name__  # A bool is no int.
  if not fits:
    raise errors.InputError(f"{key}: expected {expected}, found {value!r}")
  return value


def _dotted(kind, prefix: str = "") -> list[str]:
  """All dotted keys below the dataclass `kind`."""
  keys = []
  for field in dataclasses.fields(kind):
    if isinstance(field.type, type) and dataclasses.is_dataclass(field.type):
      keys += _dotted(field.type, f"{prefix}{field.name}.")
    else:
      keys.append(prefix + field.name)
  return keys


def flatten(config: Config) -> dict[str, Any]:
  """All values by dotted key, e.g. {'train.steps': 1000}."""

  def walk(prefix: str, tree: Mapping[str, Any]):
    for key, value in tree.items():
      if isinstance(value, Mapping):
        yield from walk(f"{prefix}{key}.", value)
      else:
        yield prefix + key, value

  return dict(walk("", dataclasses.asdict(config)))


def to_json(config: Config) -> str:
  return json.dumps(dataclasses.asdict(config), indent=2, sort_keys=True) + "\n"


def _fixed(config: Config) -> dict[str, Any]:
  """The values that decide what each step of a run learns."""
  return {
    key: value
    for key, value in flatten(config).items()
    if not key.startswith(FREE_TO_CHANGE)
  }


def digest(config: Config) -> str:
  """Hexadecimal SHA-256 of what decides a run's result, the mesh left out."""
  decisive = _fixed(config) | {"train.steps": config.train.steps}
  text = json.dumps(decisive, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def differences(now: Config, before: Config) -> list[str]:
  """Lines 'key: before -> now' of keys that a restart must not change."""
  new, old = _fixed(now), _fixed(before)
  return [
    f"{key}: {old[key]!r} -> {new[key]!r}"
    for key in sorted(new)
    if new[key] != old[key]
  ]
