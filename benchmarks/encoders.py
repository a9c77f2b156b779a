"""Encoders of pictures trained on pairs, and what they are measured by."""

from collections.abc import Mapping
import pathlib
from typing import Any

from flax import nnx
import jax
from jaxtyping import Float, PyTree
import numpy as np

from benchmarks import variants
from benchmarks.variants import Scores
from dicm_jax import any_config, features
from dicm_jax.data import click_log, pairs
from dicm_jax.model import backbone
from dicm_jax.pairwise import config as pairwise_config
from dicm_jax.pairwise import pictures, score
from dicm_jax.pairwise import task as pairwise_task
from dicm_jax.sharding import top_k

LAST_STEPS = 50
"""Of whose losses the loss at the end is the mean."""
BLOCK = 64
"""Pictures that are encoded at a time."""


def config_of(values: Mapping[str, Any], seed: int) -> pairwise_config.Config:
  """configs/pairwise.py with other values, by dotted key."""
  variant = variants.Variant("pairwise", values)
  config = any_config.from_dict(variants.values_of(variant, seed))
  assert isinstance(config, pairwise_config.Config)
  return config


def trained(
  config: pairwise_config.Config,
  data: click_log.Dataset,
  folder: pathlib.Path,
) -> Scores:
  """Trains an encoder, leaves its file in the folder, and measures it.

  Returns:
    pair_accuracy, gauc and auc of the test split; loss, the mean of the last
    steps'; zeros_map and zeros, the shares of exact zeros of the reduced last
    map and of the embedding, over the test split's pictures.
  """
  task = pairwise_task.make(config, data=data)
  state, losses = task.state, []
  for batch in task.batches(0, config.train.steps):
    state, loss = task.step(state, batch)
    losses.append(float(loss))
  folder.mkdir(parents=True, exist_ok=True)
  found = task.finish(state, folder)
  reduced, vectors = maps(config, data, state.encoder)
  return _accuracy(found) | {
    "loss": float(np.mean(losses[-LAST_STEPS:])),
    "zeros_map": float(np.mean(reduced == 0)),
    "zeros": float(np.mean(vectors == 0)),
  }


def of_squeezenet(data: click_log.Dataset, seed: int) -> Scores:
  """How well the cosine of frozen features orders the same pairs."""
  vectors = features.frozen_features(
    data.image_bytes,
    data.image_names,
    backbone.make("squeezenet"),
    cache_dir=features.cache_dir(),
  )
  return _accuracy(_of_last_clicks(top_k.unit(vectors), data, seed))


def best_possible(data: click_log.Dataset, seed: int) -> Scores:
  """How well the true probabilities order the same pairs."""
  none = np.zeros((len(data.image_names), 1), np.float32)
  found = _of_last_clicks(none, data, seed)
  return {"pair_accuracy": _number(found["bayes_pair_accuracy"])}


def _of_last_clicks(vectors, data: click_log.Dataset, seed: int):
  return score.of_vectors(
    vectors, vectors, pairs.last_clicks(data.test), data, seed
  )


def _accuracy(found) -> Scores:
  return {k: _number(found[k]) for k in ("pair_accuracy", "gauc", "auc")}


def _number(figure) -> float:
  assert isinstance(figure, float)
  return figure


def maps(
  config: pairwise_config.Config, data: click_log.Dataset, params: PyTree
) -> tuple[Float[np.ndarray, "K F"], Float[np.ndarray, "K D"]]:
  """Reduced last map and embedding of each picture of the test split."""
  made = backbone.trained(config.encoder, params)
  rows = np.unique(data.test.ad_image)
  squares = pictures.Decoded(data, config.encoder.image_size)(rows)

  @jax.jit
  def both(params, images):
    net = nnx.merge(made.graphdef, params)
    reduced = net.reduced(images)
    return reduced, net.head(reduced)

  found = [
    both(made.params, squares[first : first + BLOCK])
    for first in range(0, len(rows), BLOCK)
  ]
  reduced, vectors = (np.concatenate(p) for p in zip(*found, strict=True))
  return reduced, vectors
