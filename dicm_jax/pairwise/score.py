"""How well a trained encoder orders pictures by the user's last click."""

import numpy as np

from dicm_jax import config_tree, features, metrics
from dicm_jax import task as task_lib
from dicm_jax.data import click_log, pairs
from dicm_jax.data import images as images_lib
from dicm_jax.model import backbone
from dicm_jax.pairwise import step as step_lib
from dicm_jax.pairwise.config import Config

BLOCK = 64
"""Pictures decoded and encoded at a time."""


def figures(
  config: Config, data: click_log.Dataset, state: step_lib.State
) -> task_lib.Figures:
  """Figures of the test split, for impressions of users who clicked before.

  Returns:
    pair_accuracy: share of test pairs whose clicked item scores above the
    other, ties counted half, each click with one impression beside it drawn
    at random; auc and gauc of the score as a prediction of clicks; where true
    probabilities are known bayes_pair_accuracy, the best possible; counts.
  """
  log = data.test
  vectors = embeddings(config, data, state)
  shown = click_log.with_picture(data, log)
  clicks = pairs.find(log, shown)
  rng = np.random.Generator(np.random.Philox(key=[config.seed, 0]))
  clicked, other = pairs.draw(clicks, rng)
  lead = _score(vectors, clicks.anchor, log.ad_image[clicked])
  lead = lead - _score(vectors, clicks.anchor, log.ad_image[other])
  history = log.behaviour_images
  known = shown & (history.lengths > 0)[log.group]
  group = log.group[known]
  last = history.values[history.offsets[group + 1] - 1]
  score = _score(vectors, last, log.ad_image[known])
  label, user = log.label[known], log.user[group]
  out: task_lib.Figures = {
    "pair_accuracy": _ahead(lead),
    "pairs": len(lead),
    "auc": metrics.or_none(metrics.auc(label, score)),
    "gauc": metrics.or_none(metrics.gauc(label, score, user)),
    "impressions": len(score),
    "step": int(state.step),
    "config_digest": config_tree.digest(config),
  }
  if log.true_probability is not None:
    truth = log.true_probability
    out["bayes_pair_accuracy"] = _ahead(truth[clicked] - truth[other])
  if data.notice:
    out["data_notice"] = data.notice
  return out


def embeddings(config: Config, data: click_log.Dataset, state: step_lib.State):
  """Embeddings of all image rows, float32 [R, D]."""
  encoder = features.Encoder(backbone.trained(config.encoder, state.encoder))
  made = []
  for first in range(0, len(data.image_names), BLOCK):
    rows = range(first, min(first + BLOCK, len(data.image_names)))
    pictures = images_lib.decode_all(
      [data.image_bytes[i] for i in rows],
      [data.image_names[i] for i in rows],
      config.encoder.image_size,
    )
    made.append(encoder(pictures))
  return np.concatenate(made)


def _score(vectors, x, y):
  """Inner products: a factor common to all changes no order."""
  return np.sum(vectors[x] * vectors[y], axis=1)


def _ahead(lead) -> float:
  """Share of pairs in the right order."""
  return float(np.mean((lead > 0) + 0.5 * (lead == 0)))
