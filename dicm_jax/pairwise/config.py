"""A pairwise run's config as frozen dataclasses."""

import dataclasses

from dicm_jax import config as config_lib
from dicm_jax import config_tree, errors, optim
from dicm_jax.model import encoders, pairwise, text_cnn

TASK = "pairwise"
ANCHORS = ("click", "query")
STATISTICS = ("joint", "separate")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
  steps: int
  batch_size: int
  """Pairs of a step, over all devices."""
  log_every_steps: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pairs:
  anchor: str
  """One of ANCHORS: click, the user's last one, or query, what the user
  searched for."""
  loss: str
  """A key of pairwise.LOSSES: logistic or hinge."""
  statistics: str
  """Of batch normalisation: joint over all pictures of a pair, clicked and
  other items among them (the talk), or separate for each."""
  shift: int
  """Pixels by which a crop may move; pictures are mirrored and made brighter
  or darker as well. 0: pictures as they are."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """Everything that decides a run."""

  task: str
  seed: int
  data: config_lib.Data
  mesh: config_lib.Mesh
  train: Train
  encoder: encoders.EncoderConfig
  encoder_weights: str
  """First values of inception_v3's body: a file, or "download"; empty: random.
  """
  text: text_cnn.TextConfig
  """What queries are to their encoder, where they are the anchors."""
  pairs: Pairs
  dense_optimizer: optim.DenseConfig
  checkpoint: config_lib.Checkpoint

  def __post_init__(self):
    if self.task != TASK:
      raise errors.unknown_name("task", self.task, [TASK])
    if self.pairs.anchor not in ANCHORS:
      raise errors.unknown_name("pairs.anchor", self.pairs.anchor, ANCHORS)
    if self.pairs.loss not in pairwise.LOSSES:
      raise errors.unknown_name("pairs.loss", self.pairs.loss, pairwise.LOSSES)
    if self.pairs.statistics not in STATISTICS:
      raise errors.unknown_name(
        "pairs.statistics", self.pairs.statistics, STATISTICS
      )
    config_tree.check_numbers(
      self, at_least_one=("train.", "encoder.", "text.", "checkpoint.")
    )
    if self.pairs.shift < 0:
      raise errors.InputError(
        f"pairs.shift: expected >= 0, found {self.pairs.shift}"
      )
