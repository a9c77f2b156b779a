"""What is an id vector of visual neighbours worth to an ad nobody has clicked?

python -m benchmarks.cold_start [--seeds=3] [--steps=300] [--out=FILE]

The built-in sample, whose clicks are SIMULATED, shows ads on its last day that
training has never seen, pictures and all: a fifth of the test split. Each seed
draws a world and first weights. The ids-only model and DICM are trained as the
config files say, but for the steps, without id dropout and with an id counted
as unknown in a tenth of the samples, which teaches the unknown row what a new
ad is worth. New ads are then scored with the unknown id, and with the mean of
the ids of the nearest pictures' ads: nearest by image vectors, or for the
ids-only model, which has none, by the frozen features. Figures are of the new
ads alone; what is in FILE is not measured again. The value is the gain in AUC
of DICM trained without dropout.
"""

import argparse
import dataclasses
import functools
import pathlib

import jax
import numpy as np

from benchmarks import kept, report, variants
from dicm_jax import config as config_lib
from dicm_jax import content, evaluate, experiment, metrics, row_vectors
from dicm_jax import state as state_lib
from dicm_jax.data import click_log, sample
from dicm_jax.serving import neighbours
from dicm_jax.sharding import table

AD = "ad_image_id"
MODELS = {"ids only": "none", "DICM": "both"}
DROPOUTS = (0.0, 0.1)
COUNTS = (1, 5, neighbours.NEIGHBOURS, 50)
"""Neighbours; the option of `export` takes the third."""
IDS = ("unknown id", *(f"{count} neighbours" for count in COUNTS))
Found = dict[str, float]
"""AUC and GAUC of the new ads, by what their ids were taken for and which."""


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--seeds", type=int, default=3)
  parser.add_argument("--steps", type=int, default=300)
  parser.add_argument("--out", default="runs/cold_start.json")
  args = parser.parse_args()
  results: dict[str, list[Found]] = {}
  for seed in range(args.seeds):
    of_seed = kept.OfSeed(pathlib.Path(args.out), seed)
    data = with_rows_of_new(sample.generate(seed).dataset)
    for model, images in MODELS.items():
      for dropout in DROPOUTS:
        name = f"{model}, id dropout {dropout}"
        config = _config(images, dropout, seed, args.steps)
        of_seed.fill(name, functools.partial(measure, config, data))
        results.setdefault(name, []).append(of_seed.scores[name])
  for name, found in results.items():
    print(f"\n{name}\n{'':24}{'AUC':>20}{'GAUC':>20}")
    for ids in IDS:
      cells = [
        report.spread([f[f"{ids} {c}"] for f in found]) for c in _COLUMNS
      ]
      print(f"{ids:24}" + "".join(f"{cell:>20}" for cell in cells))
  gains = {name: _gain(found) for name, found in results.items()}
  first = gains["DICM, id dropout 0.0"]
  report.emit(
    value=float(np.mean(first)),
    unit="AUC of new ads by neighbours' ids - by the unknown id, DICM",
    goal="> 0",
    spread=(min(first), max(first)),
    others=[
      report.Figure(f"the same, {name}", float(np.mean(gain)))
      for name, gain in gains.items()
    ],
    details={"seeds": results, "steps": args.steps},
  )


_COLUMNS = ("auc", "gauc")


def _gain(found: list[Found]) -> list[float]:
  best = f"{neighbours.NEIGHBOURS} neighbours"
  return [f[f"{best} auc"] - f["unknown id auc"] for f in found]


def _config(images: str, dropout: float, seed: int, steps: int):
  values = {
    "model.images": images,
    "train.steps": steps,
    "dense_optimizer.decay_steps": steps // 3,
    "train.id_dropout": dropout,
    "train.id_dropout_fields": (AD,) if dropout else (),
  }
  return variants.config_of(variants.Variant(values=values), seed)


def with_rows_of_new(data: click_log.Dataset) -> click_log.Dataset:
  """The data set with a row for each ad that only the test split shows."""
  ids = {f.name: f for f in data.features}
  test, known = data.test, ids[AD].rows
  new = np.unique(test.ad_image[test.ad_ids[AD] == 0])
  row = np.zeros(len(data.image_names), np.int64)
  row[new] = known + np.arange(len(new))
  rows = np.where(test.ad_ids[AD] == 0, row[test.ad_image], test.ad_ids[AD])
  grown = dataclasses.replace(ids[AD], rows=known + len(new))
  return dataclasses.replace(
    data,
    features=tuple(grown if f.name == AD else f for f in data.features),
    test=dataclasses.replace(test, ad_ids=test.ad_ids | {AD: rows}),
  )


def measure(config: config_lib.Config, data: click_log.Dataset) -> Found:
  """Trains, and scores the new ads with each kind of id."""
  x = experiment.build(config, data=data)
  state = variants.trained(x, config)
  train, test = data.train, data.test
  # The picture of each ad's row: an ad of the sample has one.
  known, at = np.unique(train.ad_ids[AD], return_index=True)
  shown = train.ad_image[at]
  is_new = test.ad_ids[AD] > known.max()
  new, at = np.unique(test.ad_ids[AD][is_new], return_index=True)
  shown_new = test.ad_image[is_new][at]
  looks = _looks(x, state, config)
  table_ = row_vectors.of_ids(x, state)
  first = x.layout.offsets[AD]
  unknown = dataclasses.replace(
    test, ad_ids=test.ad_ids | {AD: np.where(is_new, 0, test.ad_ids[AD])}
  )
  out = _scores(x, state, unknown, is_new, IDS[0])
  for count in COUNTS:
    vectors = neighbours.id_vectors(
      looks[shown_new], looks[shown], table_[first + known], count
    )
    grown = table_.copy()
    grown[first + new] = vectors
    buckets = jax.device_put(table.to_buckets(grown), state.ids.sharding)
    with_ids = state._replace(ids=buckets)
    out |= _scores(x, with_ids, test, is_new, f"{count} neighbours")
  return out


def _looks(
  x: experiment.Experiment, state: state_lib.State, config: config_lib.Config
) -> np.ndarray:
  """Image vectors of all pictures, or frozen features where there are none."""
  if config.model.images != "none":
    return row_vectors.of_images(x, state)
  kind = content.kind(config)
  held = kind.lay_out(x.data, config.model, "device").held.everything()
  return (held - held.mean(axis=0)) / (held.std(axis=0) + 1e-6)


def _scores(x, state, log: click_log.ClickLog, keep, ids: str) -> Found:
  found = evaluate.predict(x, state, log)[keep]
  user = log.user[log.group][keep]
  return {
    f"{ids} auc": metrics.auc(log.label[keep], found),
    f"{ids} gauc": metrics.gauc(log.label[keep], found, user),
  }


if __name__ == "__main__":
  main()
