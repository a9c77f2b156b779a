"""What pictures add to ids: baseline, + ad image, + behaviour images, both.

python -m benchmarks.ablation [--backbone=vgg16] [--seeds=3]

Trains configs/quickstart.py (or, with --backbone=vgg16, the same with random
VGG16 weights) on the built-in sample, whose clicks are SIMULATED. A seed draws
the simulated world as well as the first weights, so the spread between seeds
holds that between worlds. Beside the four variants stand two yardsticks:

best possible: the true probabilities.
attainable ceiling: the true click model with its attributes predicted from the
same frozen features and its tastes inferred from the training clicks; see
benchmarks/ceiling.py.

The last line's value is the share of (attainable ceiling - baseline) AUC on
cold ad images that the variant with both images recovers.
"""

import argparse
import dataclasses
import pathlib
import runpy
import sys

import jax
import numpy as np

from benchmarks import ceiling, report
from dicm_jax import config as config_lib
from dicm_jax import evaluate, experiment, features, train
from dicm_jax.data import sample
from dicm_jax.model import backbone as backbone_lib

VARIANTS = {
  "baseline (ids only)": "none",
  "+ ad image": "ad",
  "+ behaviour images": "behaviour",
  "both": "both",
}
COLUMNS = ("auc", "auc_cold", "gauc", "gauc_cold")
QUICKSTART = pathlib.Path(__file__).parents[1] / "configs" / "quickstart.py"
Scores = dict[str, dict[str, float]]


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--backbone", default="squeezenet")
  parser.add_argument("--seeds", type=int, default=3)
  args = parser.parse_args()
  results = []
  for seed in range(args.seeds):
    results.append(measure(args.backbone, seed))
    print(
      f"\nseed {seed}\n" + f"{'':24}" + "".join(f"{c:>12}" for c in COLUMNS)
    )
    for name, scores in results[-1].items():
      print(report.row(name, [scores[c] for c in COLUMNS]), flush=True)
  _summarise(args.backbone, results)


def measure(backbone: str, seed: int) -> Scores:
  """Scores of all variants and both yardsticks in the world of one seed."""
  config = _config(backbone, seed)
  world = sample.generate(seed)
  data = world.dataset
  truth = data.test.true_probability
  assert truth is not None
  rows = _features(config, data)
  out = {
    name: _trained(_with_images(config, images), data)
    for name, images in VARIANTS.items()
  }
  out["attainable ceiling"] = ceiling.scores(
    data, ceiling.attainable_ceiling(world, rows)
  )
  out["best possible"] = ceiling.scores(data, truth)
  return out


def config_of(path: pathlib.Path, *, seed: int) -> config_lib.Config:
  """The config of a file, with another seed."""
  values = runpy.run_path(str(path))["get_config"]().to_dict()
  return config_lib.from_dict(values | {"seed": seed})


def _config(backbone: str, seed: int) -> config_lib.Config:
  config = config_of(QUICKSTART, seed=seed)
  image = dataclasses.replace(config.image, backbone=backbone)
  return dataclasses.replace(config, image=image)


def _with_images(config: config_lib.Config, images: str) -> config_lib.Config:
  model = dataclasses.replace(config.model, images=images)
  return dataclasses.replace(config, model=model)


def _features(config: config_lib.Config, data):
  """The same frozen features that the experiments hold in their tables."""
  return features.frozen_features(
    data.image_bytes,
    data.image_names,
    backbone_lib.make(
      config.image.backbone,
      cut=config.image.cut,
      weights=config.image.weights,
      seed=config.seed,
    ),
    cache_dir=features.cache_dir(),
  )


def _trained(config: config_lib.Config, data) -> dict[str, float]:
  """Scores of the test split after training as the config says."""
  x = experiment.build(config, data=data)
  step, state = train.make_train_step(x.program, x.state), x.state
  batches = x.batches(0, config.train.steps)
  for batch in batches:
    state, loss = step(state, x.content, batch)
    jax.block_until_ready(loss)
  return ceiling.scores(data, evaluate.predict(x, state, data.test))


def recovered(scores: Scores, column: str) -> float:
  """Share of (attainable ceiling - baseline) that both images recover."""
  baseline = scores["baseline (ids only)"][column]
  reach = scores["attainable ceiling"][column] - baseline
  return (scores["both"][column] - baseline) / reach


def _summarise(backbone: str, results: list[Scores]) -> None:
  print(f"\n{backbone}, {len(results)} seeds: mean +- half the range")
  print(f"{'':24}" + "".join(f"{c:>20}" for c in COLUMNS))
  for name in results[0]:
    cells = [report.spread([r[name][c] for r in results]) for c in COLUMNS]
    print(f"{name:24}" + "".join(f"{cell:>20}" for cell in cells))
  shares = {c: [recovered(r, c) for r in results] for c in COLUMNS}
  cells = [report.spread(shares[c]) for c in COLUMNS]
  print(f"{'recovered by both':24}" + "".join(f"{cell:>20}" for cell in cells))
  wins = all(
    r["both"][c] > r["baseline (ids only)"][c]
    for r in results
    for c in ("auc", "gauc")
  )
  print(f"both beats the baseline on every seed in AUC and GAUC: {wins}")
  sys.stdout.flush()
  report.emit(
    value=float(np.mean(shares["auc_cold"])),
    unit="share of (attainable ceiling - baseline) cold AUC recovered",
    goal=">= 0.70",
    details={
      "backbone": backbone,
      "both_beats_baseline_on_every_seed": wins,
      "recovered": shares,
      "seeds": results,
    },
  )


if __name__ == "__main__":
  main()
