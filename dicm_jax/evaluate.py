"""Scores the test split and writes the figures; also a command of its own.

python -m dicm_jax.evaluate --workdir=runs/quickstart [--mesh=2x4]
"""

import dataclasses
import pathlib
import re

from absl import app, flags
from jaxtyping import Float
import numpy as np

from dicm_jax import checkpoint, command, errors, experiment, metrics, train
from dicm_jax import config as config_lib
from dicm_jax import workdir as workdir_lib
from dicm_jax.data import click_log
from dicm_jax.sharding import mesh as mesh_lib

Figures = dict[str, float | int | str | None]


def predict(
  x: experiment.Experiment, state: train.State, log: click_log.ClickLog
) -> Float[np.ndarray, " n"]:
  """Probability of a click for every sample of a split, in its order.

  Raises:
    NonFiniteError: some are no numbers.
  """
  score = train.make_predict_step(x.program, state)
  parts = [
    mesh_lib.gather(score(state, x.content, batch)).reshape(-1)
    for batch in x.one_pass(log)
  ]
  found = np.concatenate(parts)[: log.num_samples]
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
    auc, gauc, logloss, calibration, auc_cold, gauc_cold, counts, and where
    true probabilities are known bayes_auc and so on: the best possible.
  """
  log = data.test
  user = log.user[log.group]
  cold = click_log.cold_samples(data.train, log)
  out: Figures = {
    "auc": metrics.auc(log.label, probability),
    "gauc": metrics.gauc(log.label, probability, user),
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


def evaluate(x: experiment.Experiment, state: train.State, config) -> Figures:
  """Figures of a state, with what a reader must know about them."""
  out = figures(x.data, predict(x, state, x.data.test))
  out |= {
    "step": int(state.step),
    "config_digest": config_lib.digest(config),
    "weights_notice": x.weights_notice,
  }
  if x.data.notice:
    out["data_notice"] = x.data.notice
  # NaN is no JSON; an absent figure is null there.
  return {
    key: None if isinstance(v, float) and np.isnan(v) else v
    for key, v in sorted(out.items())
  }


def restore_and_evaluate(workdir: pathlib.Path, mesh: str = "") -> Figures:
  """Repeats the evaluation of a run from its newest checkpoint.

  Args:
    workdir: the run's folder; nothing is written there.
    mesh: "WxS", worker x server devices; "" takes the run's own.

  Raises:
    InputError: no run, no checkpoint, a mesh that does not fit, or other
      data or weights than the run's.
  """
  config = workdir_lib.read_config(workdir)
  if mesh:
    split = re.fullmatch(r"(\d+)x(\d+)", mesh)
    if not split:
      raise errors.InputError(f"--mesh: expected e.g. 2x4, found {mesh!r}")
    worker, server = map(int, split.groups())
    config = dataclasses.replace(
      config, mesh=config_lib.Mesh(worker=worker, server=server)
    )
  if not (workdir / checkpoint.FOLDER).is_dir():
    raise errors.InputError(f"--workdir: {workdir} holds no checkpoints")
  x = experiment.build(config)
  found = checkpoint.restore(workdir, x.state, x.inputs)
  if found is None:
    raise errors.InputError(f"--workdir: {workdir} holds no checkpoint yet")
  return evaluate(x, found[0], config)


def main(argv: list[str]) -> None:
  del argv
  values = flags.FLAGS
  try:
    command.start(values)
    out = restore_and_evaluate(pathlib.Path(values.workdir), values.mesh)
  except errors.InputError as e:
    command.fail(e)
  except errors.NonFiniteError as e:
    raise SystemExit(f"dicm_jax: {e}") from e
  else:
    command.show(out)


if __name__ == "__main__":
  flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
  flags.DEFINE_string("mesh", "", "Worker x server devices, e.g. 2x4.")
  command.define_devices()
  app.run(main, flags_parser=command.parse_flags)
