"""DICM on MovieLens with posters, beside LightGBM on the same rows.

python -m benchmarks.movielens --ratings=ml-latest-small --posters=posters \
  [--steps=100] [--seeds=3]

Needs the data set (https://grouplens.org/datasets/movielens) and a folder of
posters TMDBID.jpg. A rating of 4 stars or more is a click; each user's last
tenth of the page views is the test. Seeds change first weights and the order of
batches; the rows are the same. LightGBM (pip install lightgbm) sees user, film,
genres, length of the history, and smoothed click rates of user and film, those
of a training row from the other four of five folds.
"""

import argparse
import dataclasses
import pathlib
import tempfile

import jax
import numpy as np

from benchmarks import report
from benchmarks.ablation import QUICKSTART, config_of
from dicm_jax import evaluate, experiment, prepare, train
from dicm_jax.data import click_log, prepared

VARIANTS = {"ids only": "none", "+ ad image": "ad", "+ both": "both"}
COLUMNS = ("auc", "gauc", "auc_cold", "logloss")
FOLDS, GENRES = 5, 21
SMOOTHING = 10
"""Ratings at the overall rate that a click rate starts with."""


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--ratings", type=pathlib.Path, required=True)
  parser.add_argument("--posters", type=pathlib.Path, required=True)
  parser.add_argument("--steps", type=int, default=100)
  parser.add_argument("--seeds", type=int, default=3)
  args = parser.parse_args()
  seeds = range(args.seeds)
  with tempfile.TemporaryDirectory() as folder:
    data = _prepare(args, pathlib.Path(folder) / "prepared")
    scores = {
      name: [_dicm(data, images, seed, args.steps) for seed in seeds]
      for name, images in VARIANTS.items()
    }
    scores["LightGBM"] = [_lightgbm(data, seed) for seed in seeds]
    _print(data, scores)


def _prepare(args, out: pathlib.Path) -> click_log.Dataset:
  prepare.prepare(
    prepare.Options(
      format="movielens",
      samples=args.ratings,
      images=args.posters,
      out=out,
      backbone="squeezenet",
      dtype="float16",
      on_bad="skip",  # Some films have no poster.
    )
  )
  return prepared.load(out)


def _dicm(data, images: str, seed: int, steps: int) -> evaluate.Figures:
  config = config_of(QUICKSTART, seed=seed)
  config = dataclasses.replace(
    config,
    model=dataclasses.replace(config.model, images=images),
    train=dataclasses.replace(config.train, steps=steps),
  )
  x = experiment.build(config, data=data)
  step, state = train.make_train_step(x.program, x.state), x.state
  for batch in x.batches(0, steps):
    state, loss = step(state, x.content, batch)
    jax.block_until_ready(loss)
  return _figures(images, seed, data, evaluate.predict(x, state, data.test))


def _lightgbm(data: click_log.Dataset, seed: int) -> evaluate.Figures:
  import lightgbm

  columns = _columns(data, data.train)
  names = [f"c{i}" for i in range(columns.shape[1])]
  train_set = lightgbm.Dataset(
    columns, data.train.label, feature_name=names, categorical_feature=names[:2]
  )
  options = {
    "objective": "binary",
    "seed": seed,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "feature_fraction": 0.8,
    "learning_rate": 0.05,
    "num_threads": 2,
    "verbose": -1,
  }
  model = lightgbm.train(options, train_set, num_boost_round=300)
  test = np.asarray(model.predict(_columns(data, data.test)))
  return _figures("LightGBM", seed, data, test)


def _columns(data: click_log.Dataset, log: click_log.ClickLog):
  """Numbers of each sample: user, film, rates, history length, genres."""
  genres = log.ad_lists["genres"]
  hot = np.zeros((log.num_samples, GENRES))
  hot[np.repeat(np.arange(log.num_samples), genres.lengths), genres.values] = 1
  known, here = _keys(data.train), _keys(log)
  parts = list(here)
  for train_key, key in zip(known, here, strict=True):
    parts += _rates(
      train_key, data.train.label, key, of_train=log is data.train
    )
  parts.append(log.user_ids["history_movie_id"].lengths[log.group])
  return np.column_stack([*parts, hot]).astype(np.float64)


def _keys(log: click_log.ClickLog):
  """User and film of each sample."""
  return log.user_ids["user_id"].values[log.group], log.ad_ids["movie_id"]


def _rates(train_key, label, key, *, of_train: bool):
  """Click rate and count of each sample's key in training."""
  if not of_train:
    return _rates_of(train_key, label, key)
  fold = np.random.default_rng(0).integers(0, FOLDS, len(label))
  out = np.zeros((2, len(label)))
  for k in range(FOLDS):
    other, mine = fold != k, fold == k
    out[:, mine] = _rates_of(train_key[other], label[other], key[mine])
  return list(out)


def _rates_of(train_key, label, key):
  size = 1 + int(max(train_key.max(), key.max()))
  count = np.bincount(train_key, minlength=size)[key]
  clicks = np.bincount(train_key, label, size)[key]
  return [(clicks + SMOOTHING * label.mean()) / (count + SMOOTHING), count]


def _figures(name: str, seed: int, data, probability) -> evaluate.Figures:
  out = evaluate.figures(data, np.asarray(probability, np.float32))
  print(f"{name:12} seed {seed} " + report.row("", [out[c] for c in COLUMNS]))
  return out


def _print(data, scores) -> None:
  print(f"\n{data.notice}\n{'':24}" + "".join(f"{c:>20}" for c in COLUMNS))
  for name, runs in scores.items():
    cells = [report.spread([r[c] for r in runs]) for c in COLUMNS]
    print(f"{name:24}" + "".join(f"{cell:>20}" for cell in cells))
  gauc = {k: float(np.mean([r["gauc"] for r in v])) for k, v in scores.items()}
  report.emit(
    value=gauc["+ both"] - gauc["ids only"],
    unit="GAUC gained by pictures",
    goal="> 0",
    details={"scores": scores},
  )


if __name__ == "__main__":
  main()
