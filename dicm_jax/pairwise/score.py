"""How well trained encoders order items by their likeness to an anchor."""

from jaxtyping import Float, PyTree
import numpy as np

from dicm_jax import config_tree, features, metrics
from dicm_jax import task as task_lib
from dicm_jax.data import click_log, pairs
from dicm_jax.data import images as images_lib
from dicm_jax.model import backbone
from dicm_jax.pairwise import step as step_lib
from dicm_jax.pairwise.anchors import Anchors
from dicm_jax.pairwise.config import Config

BLOCK = 64
"""Pictures decoded and encoded at a time."""


def figures(
  config: Config,
  data: click_log.Dataset,
  anchors: Anchors,
  state: step_lib.State,
) -> task_lib.Figures:
  """Figures of the test split, for impressions on page views with an anchor.

  Returns:
    What `of_vectors` finds of the embeddings, the step, the config's digest and
    what the data want said.
  """
  items = embeddings(config, data, anchors.items(state.encoder))
  of_anchors = anchors.vectors(state.encoder, items)
  out = of_vectors(
    items, of_anchors, anchors.of(data.test), data, config.seed
  ) | {
    "step": int(state.step),
    "config_digest": config_tree.digest(config),
  }
  return out | ({"data_notice": data.notice} if data.notice else {})


def of_vectors(
  items: Float[np.ndarray, "R D"],
  of_anchors: Float[np.ndarray, "A D"],
  found: pairs.Anchors,
  data: click_log.Dataset,
  seed: int,
) -> task_lib.Figures:
  """How well inner products with the anchors order the test split.

  Args:
    items: vectors of all image rows.
    of_anchors: vectors of all anchors.
    found: anchors of the test split's page views.
    data: the data set.
    seed: of the draw of pairs.

  Returns:
    pair_accuracy: share of test pairs whose clicked item scores above the
    other, ties counted half, each click with one impression beside it drawn
    at random; auc and gauc of the score as a prediction of clicks; where true
    probabilities are known bayes_pair_accuracy, the best possible; counts.
  """
  log = data.test
  shown = click_log.with_picture(data, log)
  clicks = pairs.find(log, shown, found)
  rng = np.random.Generator(np.random.Philox(key=[seed, 0]))
  clicked, other = pairs.draw(clicks, rng)

  def score_of(anchor, image):
    """Inner products: a factor common to all changes no order."""
    return np.sum(of_anchors[anchor] * items[image], axis=1)

  lead = score_of(clicks.anchor, log.ad_image[clicked])
  lead = lead - score_of(clicks.anchor, log.ad_image[other])
  known = shown & (found.of_group != pairs.NONE)[log.group]
  group = log.group[known]
  score = score_of(found.of_group[group], log.ad_image[known])
  label, user = log.label[known], log.user[group]
  out: task_lib.Figures = {
    "pair_accuracy": _ahead(lead),
    "pairs": len(lead),
    "auc": metrics.or_none(metrics.auc(label, score)),
    "gauc": metrics.or_none(metrics.gauc(label, score, user)),
    "impressions": len(score),
  }
  if log.true_probability is not None:
    truth = log.true_probability
    out["bayes_pair_accuracy"] = _ahead(truth[clicked] - truth[other])
  return out


def embeddings(config: Config, data: click_log.Dataset, params: PyTree):
  """Embeddings of all image rows by the items' encoder, float32 [R, D]."""
  encoder = features.Encoder(backbone.trained(config.encoder, params))
  made = []
  for first in range(0, len(data.image_names), BLOCK):
    rows = range(first, min(first + BLOCK, len(data.image_names)))
    pictures = images_lib.decode_rows(
      data.image_bytes, data.image_names, rows, config.encoder.image_size
    )
    made.append(encoder(pictures))
  return np.concatenate(made)


def _ahead(lead) -> float:
  """Share of pairs in the right order."""
  return float(np.mean((lead > 0) + 0.5 * (lead == 0)))
