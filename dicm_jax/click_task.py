"""Training of a CTR model on clicks, as the loop sees it."""

import pathlib
from typing import Any

from dicm_jax import (
  ahead,
  checkpoint,
  evaluate,
  experiment,
  slices,
  train,
  warm_up,
)
from dicm_jax import config as config_lib
from dicm_jax import predict as predict_lib
from dicm_jax import task as task_lib
from dicm_jax import workdir as workdir_lib
from dicm_jax.profiling import hlo


def make(config: config_lib.Config, workdir: pathlib.Path) -> task_lib.Task:
  """Builds the experiment; a new run's first state may be another run's last.

  Raises:
    InputError: the config or what it names is wrong.
  """
  x = _build(config, workdir)
  train_step = train.make_train_step(x.program, x.state)
  check = predict_lib.make_check(x.program, x.state)

  def finish(state, folder: pathlib.Path | None) -> task_lib.Figures:
    found = evaluate.evaluate(x, state, config)
    if folder:
      parts = slices.table(x.data, found.probability)
      workdir_lib.write_json(folder / workdir_lib.SLICES, parts)
    return found.figures

  made = task_lib.Task(
    state=x.state,
    batches=x.batches,
    step=lambda state, batch: train_step(state, x.content, batch),
    hlo=lambda state, batch: hlo.text_of(train_step, state, x.content, batch),
    is_sound=lambda state, batch: check(state, x.content, batch),
    finish=finish,
    batch_size=x.batch_size,
    inputs=x.inputs,
    meaning=warm_up.meaning(config, x),
    about=_about(x),
    host_batch=x.host_batch,
    keep_first=config.warm_up.mode != "none",
  )
  return _ahead(made, x) if config.train.ahead else made


def _ahead(task: task_lib.Task, x: experiment.Experiment) -> task_lib.Task:
  """The same task, whose steps are given the next batch beside their own."""
  steps = ahead.Steps(x.program, x.state, x.content)
  return task._replace(
    batches=lambda first, end: ahead.pairs(task.batches(first, end)),
    step=steps,
    hlo=steps.hlo,
    is_sound=lambda state, pair: task.is_sound(state, pair[0]),
  )


def _build(
  config: config_lib.Config, workdir: pathlib.Path
) -> experiment.Experiment:
  if checkpoint.steps(workdir):
    return experiment.build(config)
  warm_up.check(config.warm_up)
  return warm_up.start(config, experiment.build(config))


def _about(x: experiment.Experiment) -> tuple[str, ...]:
  """A few lines on what runs where."""
  mesh = x.program.mesh
  lines = [f"mesh {dict(mesh.shape)} on {mesh.devices.flat[0].platform}"]
  tables: dict[str, Any] = {"ID table": x.state.ids}
  if x.held is None:
    tables["image table"] = x.content.table
  else:
    lines.append(f"image table: {x.held.about}, on the host")
  for name, array in tables.items():
    shard = array.addressable_shards[0].data
    lines.append(
      f"{name}: {array.shape} {array.dtype}, {shard.nbytes / 1e6:.1f} MB a "
      f"device, {array.sharding}"
    )
  return (*lines, *filter(None, (x.weights_notice, x.data.notice)))
