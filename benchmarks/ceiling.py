"""How well can any model do on the built-in sample, given its features?

  python -m benchmarks.ceiling [--seed=0] [--features=FILE.npy]

Prints the AUC of the true probabilities (no model can beat it) and of the
attainable ceiling: the true form of the click model, fed with what frozen
features and the training clicks can tell. Read a model's AUC against the
ceiling; the gap from there to the best possible is what features and clicks
do not hold. The ceiling is a reference, not a bound: it reads the features
linearly, and a model might read more in them.
"""

import argparse
import dataclasses
import importlib.metadata
import json
import pathlib
import time

import jax
from jaxtyping import Float
import numpy as np

from benchmarks import bayes, ridge
from dicm_jax import features as features_lib
from dicm_jax import metrics
from dicm_jax.data import click_log
from dicm_jax.data import sample as sample_lib
from dicm_jax.data.simulator import appearance, click_model
from dicm_jax.model import backbone as backbone_lib

# Rounds of users given population, population given users: the AUC moves by
# less than 1e-4 after the second.
_ROUNDS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ceiling:
  """What the best informed model predicts, and from which attributes."""

  probability: Float[np.ndarray, " m"]
  """P(click) of each test sample."""
  attributes: ridge.Ridge


def attainable_ceiling(
  sample: sample_lib.Sample, features: Float[np.ndarray, "R F"]
) -> Float[np.ndarray, " m"]:
  """Predicts the test clicks with the true click model and learned inputs.

  Known: the form of the model, the priors, the base rate, the effect of the
  place, every photograph's category (an ID feature). Inferred: attributes, by
  ridge regression on the features of the photographs seen in training;
  tastes and item effects, from the training clicks, by Bayesian logistic
  regression under the simulator's priors. The noise of a single impression,
  the attributes' residuals and the posteriors' variances are integrated with
  E[logistic(N(m, v))] = logistic(m / sqrt(1 + pi v / 8)).

  Args:
    sample: the simulated data with the truth.
    features: frozen features of all photographs.

  Returns:
    float64 [m]: P(click) of each test sample.
  """
  return estimate(sample, features).probability


def estimate(
  sample: sample_lib.Sample, features: Float[np.ndarray, "R F"]
) -> Ceiling:
  """Like attainable_ceiling, with the regression of the attributes."""
  truth, scales = sample.truth, sample.truth.scales
  seen = np.isin(
    np.arange(len(features)), np.unique(sample.dataset.train.ad_image)
  )
  looks = ridge.fit(features, truth.attributes, seen)
  taste_variance = scales.taste**2 + scales.fashion**2
  hidden = scales.noise**2 + taste_variance * looks.residual_variance.sum()
  # Hidden variance makes clicks answer to everything else by this much less.
  damping = float(_damping(hidden))
  estimates, covariance, item_variance = _infer(sample, looks, damping)
  test = sample.dataset.test
  user = test.user[test.group]
  logit = damping * click_model.click_logit(
    estimates,
    attributes=looks.predicted,
    category=truth.category,
    user=user,
    image=test.ad_image,
    place=truth.test_place,
  )
  design = damping * _design(sample, looks.predicted)[test.ad_image]
  unknown = np.einsum("nd,nde,ne->n", design, covariance[user], design)
  unknown += damping**2 * item_variance[test.ad_image]
  return Ceiling(
    probability=click_model.probability(logit * _damping(unknown)),
    attributes=looks,
  )


def _damping(variance):
  return 1 / np.sqrt(1 + np.pi / 8 * variance)


def _design(
  sample: sample_lib.Sample, attributes: Float[np.ndarray, "R A"]
) -> Float[np.ndarray, "R D"]:
  """Attributes and category of each photograph: what tastes multiply."""
  one_hot = np.eye(sample.truth.parameters.category_taste.shape[1])
  return np.hstack([attributes, one_hot[sample.truth.category]])


def _infer(
  sample: sample_lib.Sample, looks: ridge.Ridge, damping: float
) -> tuple[
  click_model.Parameters,
  Float[np.ndarray, "N D D"],
  Float[np.ndarray, " R"],
]:
  """Estimates the parameters; with the variances of tastes and items."""
  truth, train = sample.truth, sample.dataset.train
  scales, true = truth.scales, truth.parameters
  num_attributes = looks.predicted.shape[1]
  clicks = bayes.Clicks(
    design=damping * _design(sample, looks.predicted)[train.ad_image],
    offset=damping * (true.base - true.place * np.log1p(truth.train_place)),
    label=train.label.astype(np.float64),
    user=train.user[train.group],
    image=train.ad_image,
    num_users=len(true.taste),
    num_images=len(true.item),
  )
  scale = np.full(clicks.design.shape[1], scales.category)
  scale[:num_attributes] = scales.taste
  # Popularity works as one more unseen property of the item.
  item_scale = np.hypot(scales.item, scales.popularity_gain * scales.popularity)
  personal = np.zeros(len(clicks.label))
  taste = np.zeros((clicks.num_users, len(scale)))
  for _ in range(_ROUNDS):
    fashion, item, item_variance = bayes.population(
      clicks,
      clicks.offset + personal,
      mean_precision=np.full(num_attributes, scales.fashion**-2),
      item_precision=(damping * item_scale) ** -2,
    )
    common = clicks.design[:, :num_attributes] @ fashion + item[clicks.image]
    taste, covariance = bayes.user_tastes(
      clicks, clicks.offset + common, scale**-2
    )
    personal = np.einsum("nd,nd->n", clicks.design, taste[clicks.user])
  estimates = dataclasses.replace(
    true,
    taste=fashion + taste[:, :num_attributes],
    category_taste=taste[:, num_attributes:],
    item=item / damping,
    popularity=np.zeros_like(item),
  )
  return estimates, covariance, item_variance / damping**2


def scores(
  dataset: click_log.Dataset, probability: Float[np.ndarray, " m"]
) -> dict[str, float]:
  """AUC and GAUC of a prediction of the test split, overall and cold."""
  test = dataset.test
  user = test.user[test.group]
  cold = click_log.cold_samples(dataset.train, test)
  return {
    "auc": metrics.auc(test.label, probability),
    "auc_cold": metrics.auc(test.label[cold], probability[cold]),
    "gauc": metrics.gauc(test.label, probability, user),
    "gauc_cold": metrics.gauc(test.label[cold], probability[cold], user[cold]),
  }


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--features", type=pathlib.Path)
  args = parser.parse_args()
  sample = sample_lib.generate(args.seed)
  features = _load_features(sample.dataset, args.features)
  start = time.perf_counter()
  ceiling = estimate(sample, features)
  seconds = time.perf_counter() - start
  truth = sample.dataset.test.true_probability
  assert truth is not None
  table = {
    "best possible": scores(sample.dataset, truth),
    "attainable ceiling": scores(sample.dataset, ceiling.probability),
  }
  print(f"{'':20}" + "".join(f"{k:>11}" for k in table["best possible"]))
  for name, row in table.items():
    print(f"{name:20}" + "".join(f"{value:11.4f}" for value in row.values()))
  looks = ceiling.attributes
  print(f"\n{'R2 of the ridge':20}{'seen':>11}{'cold':>11}")
  for row in zip(
    appearance.ATTRIBUTES, looks.r2_seen, looks.r2_cold, strict=True
  ):
    print("{:20}{:11.3f}{:11.3f}".format(*row))
  result = {
    "value": table["attainable ceiling"]["auc"],
    "unit": "AUC",
    "goal": None,
    "device": str(jax.devices()[0].device_kind),
    "versions": {
      name: importlib.metadata.version(name) for name in ("jax", "numpy")
    },
    "seed": args.seed,
    "seconds": round(seconds, 2),
    **{name.replace(" ", "_"): row for name, row in table.items()},
    "r2_cold": dict(zip(appearance.ATTRIBUTES, looks.r2_cold, strict=True)),
  }
  print(json.dumps(result))


def _load_features(
  dataset: click_log.Dataset, path: pathlib.Path | None
) -> Float[np.ndarray, "R F"]:
  if path is not None:
    return np.load(path, allow_pickle=False)
  return features_lib.frozen_features(
    dataset.image_bytes,
    dataset.image_names,
    backbone_lib.make("squeezenet"),
    cache_dir=features_lib.cache_dir(),
  )


if __name__ == "__main__":
  main()
