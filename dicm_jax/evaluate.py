"""Scores the test split and writes the figures; also a command of its own.

python -m dicm_jax.evaluate --workdir=runs/a [--mesh=2x4] [--slices]
python -m dicm_jax.evaluate --workdir=runs/a --against=runs/b [--mesh=2x4]

The first prints the figures of eval.json, and with --slices those of
slices.json under the key `slices`. The second prints what `compare` returns,
and the two folders as `a` and `b`.
"""

import pathlib
from typing import Any, NamedTuple

from absl import app, flags
from jaxtyping import Float
import numpy as np

from dicm_jax import (
  bootstrap,
  command,
  compare,
  config_tree,
  errors,
  experiment,
  metrics,
  restore,
  slices,
)
from dicm_jax import predict as predict_lib
from dicm_jax import state as state_lib
from dicm_jax.data import click_log
from dicm_jax.pairwise import config as pairwise_config
from dicm_jax.pairwise import task as pairwise_task
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.task import Figures


class Scored(NamedTuple):
  """A state's prediction of the test split, and its figures."""

  probability: Float[np.ndarray, " n"]
  figures: Figures


def predict(
  x: experiment.Experiment,
  state: state_lib.State,
  log: click_log.ClickLog,
  read: predict_lib.Read = predict_lib.click_probability,
) -> Float[np.ndarray, "n ..."]:
  """What `read` makes of every sample of a split, in its order.

  Raises:
    NonFiniteError: some of it is no number.
  """
  state = state._replace(id_slots=())  # Training alone needs them.
  step = predict_lib.make_predict_step(x.program, state, read)
  slices = [
    device
    for held, batch in x.with_rows(state, x.one_pass(log))
    for device in mesh_lib.gather(step(held, x.content, batch))
  ]
  found = np.concatenate(slices)[: log.num_samples]
  if not np.isfinite(found).all():
    raise errors.NonFiniteError(
      "some predictions are no numbers: training went out of bounds. Lower the "
      "learning rates, in a new --workdir"
    )
  return found


def figures(
  data: click_log.Dataset, probability: Float[np.ndarray, " n"]
) -> Figures:
  """All metrics of the test split, over all samples and over cold ads.

  Args:
    data: the data set.
    probability: prediction for each test sample.

  Returns:
    auc, gauc, logloss, calibration, auc_cold, gauc_cold, auc_within_ad (over
    ads with a picture, by their image), counts, and where true probabilities
    are known bayes_auc and so on: the best possible.
  """
  log = data.test
  user = log.user[log.group]
  cold = click_log.cold_samples(data.train, log)
  ads = click_log.with_picture(data, log)
  out: Figures = {
    "auc": metrics.auc(log.label, probability),
    "gauc": metrics.gauc(log.label, probability, user),
    "auc_within_ad": metrics.within_ad_auc(
      log.label[ads], probability[ads], log.ad_image[ads]
    ),
    "logloss": metrics.log_loss(log.label, probability),
    "calibration": metrics.calibration(log.label, probability),
    "impressions": log.num_samples,
    "impressions_cold": int(cold.sum()),
    "users": len(np.unique(user)),
  }
  out |= _cold(log, probability, user, cold, "")
  if log.true_probability is not None:
    best = log.true_probability
    out["bayes_auc"] = metrics.auc(log.label, best)
    out["bayes_gauc"] = metrics.gauc(log.label, best, user)
    out["bayes_logloss"] = metrics.log_loss(log.label, best)
    out |= _cold(log, best, user, cold, "bayes_")
  return out


def _cold(log, score, user, cold, prefix):
  return {
    f"{prefix}auc_cold": metrics.auc(log.label[cold], score[cold]),
    f"{prefix}gauc_cold": metrics.gauc(
      log.label[cold], score[cold], user[cold]
    ),
  }


def intervals(
  data: click_log.Dataset, probability: Float[np.ndarray, " n"]
) -> Figures:
  """95 % bootstrap intervals over users, see `bootstrap`.

  Returns:
    auc_low and auc_high, and so on for each of `bootstrap.statistics`.
  """
  log = data.test
  cold = click_log.cold_samples(data.train, log)
  drawn = bootstrap.resample(
    bootstrap.statistics(log, probability, cold), len(np.unique(log.user))
  )
  out: Figures = {}
  for name, values in drawn.items():
    out[f"{name}_low"], out[f"{name}_high"] = bootstrap.interval(values)
  return out


def evaluate(
  x: experiment.Experiment, state: state_lib.State, config
) -> Scored:
  """Scores a state; its figures tell what a reader must know about them."""
  probability = predict(x, state, x.data.test)
  out = figures(x.data, probability) | intervals(x.data, probability)
  out |= {
    "step": int(state.step),
    "config_digest": config_tree.digest(config),
    "weights_notice": x.weights_notice,
  }
  if x.data.notice:
    out["data_notice"] = x.data.notice
  # NaN is no JSON; an absent figure is null there.
  plain = {
    key: metrics.or_none(v) if isinstance(v, float) else v
    for key, v in sorted(out.items())
  }
  return Scored(probability, plain)


def evaluate_run(
  workdir: pathlib.Path, mesh: str, *, with_slices: bool
) -> dict[str, Any]:
  """Repeats the evaluation of a run from its newest checkpoint.

  Raises:
    InputError: as `restore.restore`.
  """
  given = restore.read_config(workdir, mesh)
  if isinstance(given, pairwise_config.Config):
    return pairwise_task.evaluate_run(given, workdir)
  config, x, state = restore.restore(workdir, mesh)
  found = evaluate(x, state, config)
  out: dict[str, Any] = dict(found.figures)
  if with_slices:
    out["slices"] = slices.table(x.data, found.probability)
  return out


def compare_runs(a: pathlib.Path, b: pathlib.Path, mesh: str) -> dict[str, Any]:
  """Evaluates two runs on one test split, see `compare.compare`.

  Raises:
    InputError: as `restore.restore`, or their test splits differ.
  """
  # What can be wrong with the second is told before the first takes minutes.
  for workdir in (a, b):
    restore.read_config(workdir, mesh)
  found = compare.compare(_prediction(a, mesh), _prediction(b, mesh))
  return {"a": str(a), "b": str(b)} | found


def _prediction(workdir: pathlib.Path, mesh: str) -> compare.Prediction:
  _, x, state = restore.restore(workdir, mesh)
  return compare.Prediction(x.data, predict(x, state, x.data.test))


def _run(values: flags.FlagValues) -> dict[str, Any]:
  """What the command prints."""
  workdir = pathlib.Path(values.workdir)
  if not values.against:
    return evaluate_run(workdir, values.mesh, with_slices=values.slices)
  if values.slices:
    raise errors.InputError("--slices: expected without --against")
  return compare_runs(workdir, pathlib.Path(values.against), values.mesh)


def main(argv: list[str]) -> None:
  del argv
  try:
    command.start(flags.FLAGS)
    out = _run(flags.FLAGS)
  except errors.InputError as e:
    command.fail(e)
  except errors.NonFiniteError as e:
    raise SystemExit(f"dicm_jax: {e}") from e
  else:
    command.show(out)


if __name__ == "__main__":
  flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
  flags.DEFINE_string("against", "", "Folder of a run to compare with.")
  flags.DEFINE_bool("slices", False, "Print the figures of slices too.")
  flags.DEFINE_string("mesh", "", "Worker x server devices, e.g. 2x4.")
  command.define_devices()
  app.run(main, flags_parser=command.parse_flags)
