"""A run's config as frozen dataclasses, made from a file of configs/."""

import dataclasses
from typing import Any

from dicm_jax import config_tree, errors, optim
from dicm_jax.model import backbone, nets, text_cnn
from dicm_jax.model import config as model_config

WARM_UP_MODES = ("none", "partial", "full")
IMAGE_MODES = ("features", "pixels", "titles")
TIERS = ("device", "host", "file")
EXCHANGES = ("padded", "ragged")


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
  exchange: str
  """padded: between any two devices go as many places as the largest group of
  rows needs; ragged: rows alone (GPUs and TPUs)."""
  ahead: bool
  """Whether a step asks for the next batch's rows, and encodes its pixels,
  while it trains on its own."""
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
  """A key of backbone.BACKBONES, precomputed, or text_cnn for titles."""
  cut: str
  """Layer whose output is an image's features; empty: the backbone's own."""
  weights: str
  """File, "download", "random", or empty for what is bundled."""
  mode: str
  """features: encoded once; pixels: the backbone runs in every step; titles:
  a text CNN reads them, and no pictures."""
  chunk: int
  """Images that an owner embeds at a time."""
  dtype: str
  """float32 or bfloat16: of the frozen encoder's arithmetic where it runs in
  the step, and of features in the content table, half as many bytes."""
  tier: str
  """Where the content table lies: device; host, in the memory of each process;
  or file, mapped from a disk. Other than on devices, it may be larger than all
  their memory, and of a row only what a batch asks for goes there."""

  def __post_init__(self):
    if self.dtype not in backbone.DTYPES:
      raise errors.unknown_name("image.dtype", self.dtype, backbone.DTYPES)
    in_step = self.mode == "pixels" and self.backbone == backbone.TRAINED
    if in_step and self.dtype != "float32":
      raise errors.InputError(
        "image.dtype: expected 'float32' where image.mode is 'pixels' and "
        f"image.backbone 'trained', found {self.dtype!r}"
      )
    if self.tier not in TIERS:
      raise errors.unknown_name("image.tier", self.tier, TIERS)


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
  text: text_cnn.TextConfig
  """What a title is; of no meaning in other modes."""
  model: model_config.ModelConfig
  sparse_optimizer: optim.SparseConfig
  dense_optimizer: optim.DenseConfig
  checkpoint: Checkpoint

  def __post_init__(self):
    if self.train.exchange not in EXCHANGES:
      raise errors.unknown_name(
        "train.exchange", self.train.exchange, EXCHANGES
      )
    if self.image.mode not in IMAGE_MODES:
      raise errors.unknown_name("image.mode", self.image.mode, IMAGE_MODES)
    nets.check(self.model)
    config_tree.check_numbers(
      self,
      at_least_one=(
        "train.",
        "image.chunk",
        "text.",
        "model.id_width",
        "checkpoint.",
      ),
    )


def from_dict(values: Any) -> Config:
  """Makes a config of nested mappings, see `config_tree.build`."""
  return config_tree.build(Config, values)
