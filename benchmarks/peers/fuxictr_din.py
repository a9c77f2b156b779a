"""FuxiCTR's DIN (model_zoo/LongCTR) on the same samples.

Equal: samples, ID fields and their width, lengths of histories, hidden widths,
Dice. Not equal: FuxiCTR has no image layers, so a picture is a cached vector of
as many numbers as ours have in the end, given with each behaviour of each
sample and projected; pictures join the ids in one attention, where ours have a
multi-query attention of their own; histories are padded; every parameter
learns by a dense Adam and clipped gradients, ours has Adagrad on the rows
touched, with DIN's adaptive L2.
"""

import collections
import importlib.util
import pathlib
import runpy
import sys
import types
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.peers import torch_layers as layers
from dicm_jax import experiment
from dicm_jax.data import batch as batch_lib

PICTURE = "picture"
UNUSED = (
  "fuxictr.preprocess",
  "fuxictr.preprocess.tokenizer",
  "pandas",
  "pandas.core",
  "pandas.core.common",
  "polars",
)
"""What FuxiCTR reads files with, 600 MB with Ray; no step calls any of it."""


def _their_model() -> Any:
  """The class, from its own file: the zoo imports all its models at once."""
  stubs = [name for name in UNUSED if name not in sys.modules]
  sys.modules.update({name: mock.MagicMock() for name in stubs})
  try:
    zoo = importlib.util.find_spec("model_zoo")
    folder = pathlib.Path(next(iter(zoo.submodule_search_locations)))
    return runpy.run_path(str(folder / "LongCTR" / "DIN" / "DIN.py"))["DIN"]
  finally:
    for name in stubs:
      del sys.modules[name]


class FeatureMap(types.SimpleNamespace):
  """What a model of theirs asks of their own FeatureMap."""

  def sum_emb_out_dim(self) -> int:
    return sum(spec["embedding_dim"] for spec in self.features.values())


def _feature_map(x: experiment.Experiment) -> FeatureMap:
  width = x.program.model.id_width
  image = x.program.model.image_width
  rows = {f.name: f.rows for f in x.layout.features}
  features = collections.OrderedDict()
  items = [ad for _, ad in x.layout.past_fields]
  for name in (*_single(x), *items):
    features[name] = {
      "type": "categorical",
      "vocab_size": rows[name],
      "embedding_dim": width,
      "source": "item" if name in items else "context",
    }
  features[PICTURE] = {
    "type": "embedding",
    "pretrain_dim": image,
    "embedding_dim": image,
    "source": "item",
  }
  return FeatureMap(
    features=features, labels=["label"], dataset_id="sample", data_dir=""
  )


def _single(x: experiment.Experiment) -> list[str]:
  """Fields that are no clicks: the user and the place."""
  past = {name for pair in x.layout.past_fields for name in pair}
  names = (*x.layout.user_fields, *x.layout.ad_fields)
  return [name for name in names if name not in past]


class Trainer:
  """Runs the `train_step` of their model."""

  def __init__(self, x: experiment.Experiment):
    layers.start()
    model = x.program.model
    self.net = _their_model()(
      _feature_map(x),
      dnn_hidden_units=list(model.hidden_widths),
      dnn_activations="Dice",
      attention_hidden_units=[36],
      attention_hidden_activations="Dice",
      embedding_dim=model.id_width,
      learning_rate=1e-3,
      optimizer="adam",
      loss="binary_crossentropy",
      verbose=0,
      model_root="",
      metrics=[],
    )
    self.net._max_gradient_norm = 10.0
    self.net._batch_index = 0
    self.net.train()

  def step(self, batch) -> float:
    return self.net.train_step(batch).item()


def batch_of(x: experiment.Experiment, batch: batch_lib.Batch):
  """Their three parts: fields, items [B (L + 1)], the ad last, and the mask."""
  inputs, id_rows = batch.inputs, batch.id_rows[0]
  group, offsets = inputs["group"][0], x.layout.offsets
  num_groups = int(group[-1]) + 1

  def ids(name: str, place) -> np.ndarray:
    return id_rows[place] - offsets[name]

  def histories(place, owner) -> np.ndarray:
    """Of each sample, padded in front with -1."""
    there = owner < num_groups
    place, owner = place[there], owner[there]
    lengths = np.bincount(owner, minlength=num_groups)
    longest = inputs["history_length"].max()
    end = np.cumsum(lengths)[owner]
    out = np.full((num_groups, longest), -1)
    out[owner, longest - (end - np.arange(len(owner)))] = place
    return out[group]

  fields = {"label": layers.tensor(batch.label[0])}
  for name in _single(x):
    if name in inputs["ad_ids"]:
      place = inputs["ad_ids"][name][0]
    else:
      place = inputs["user_ids"][name][0][0][:num_groups][group]
    fields[name] = layers.tensor(ids(name, place))
  items = {}
  for user, ad in x.layout.past_fields:
    place, owner = (part[0] for part in inputs["user_ids"][user][:2])
    past = histories(place, owner)
    rows = np.where(past < 0, 0, ids(user, np.maximum(past, 0)))
    of_ad = ids(ad, inputs["ad_ids"][ad][0])
    items[ad] = layers.tensor(np.column_stack([rows, of_ad]).reshape(-1))
  place, owner = (part[0] for part in inputs["behaviours"][:2])
  past = histories(place, owner)
  both = np.column_stack([np.maximum(past, 0), inputs["ad_image"][0]])
  pictures = batch.image_rows[0][both].reshape(-1)
  cached = x.data.frozen("")[:, : x.program.model.image_width]
  items[PICTURE] = layers.tensor(cached[pictures])
  return fields, items, layers.tensor((past >= 0).astype(np.float32))
