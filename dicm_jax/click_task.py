"""Training of a CTR model on clicks, as the loop sees it."""

import pathlib
from typing import Any

from dicm_jax import (
  checkpoint,
  evaluate,
  experiment,
  slices,
  training,
  warm_up,
)
from dicm_jax import config as config_lib
from dicm_jax import state as state_lib
from dicm_jax import task as task_lib
from dicm_jax import workdir as workdir_lib


def make(config: config_lib.Config, workdir: pathlib.Path) -> task_lib.Task:
  """Builds the experiment; a new run's first state may be another run's last.

  Raises:
    InputError: the config or what it names is wrong.
  """
  x = _build(config, workdir)

  def finish(state, folder: pathlib.Path | None) -> task_lib.Figures:
    found = evaluate.evaluate(x, state, config)
    if folder:
      parts = slices.table(x.data, found.probability)
      workdir_lib.write_json(folder / workdir_lib.SLICES, parts)
    return found.figures

  return task_lib.Task(
    **training.of(x, asks_ahead=config.train.ahead)._asdict(),
    state=x.state,
    finish=finish,
    batch_size=x.batch_size,
    inputs=x.inputs,
    meaning=warm_up.meaning(config, x),
    about=_about(x),
    host_batch=x.host_batch,
    keep_first=config.warm_up.mode != "none",
  )


def _build(
  config: config_lib.Config, workdir: pathlib.Path
) -> experiment.Experiment:
  if checkpoint.steps(workdir):
    return experiment.build(config, restored=True)
  warm_up.check(config.warm_up)
  return warm_up.start(config, experiment.build(config))


def _about(x: experiment.Experiment) -> tuple[str, ...]:
  """A few lines on what runs where."""
  mesh = x.program.mesh
  lines = [f"mesh {dict(mesh.shape)} on {mesh.devices.flat[0].platform}"]
  tables: dict[str, Any] = {}
  if x.layout.ids_windowed:
    size = sum(rows.nbytes for rows in state_lib.rows_of(x.state)) / 1e6
    lines.append(
      f"ID table: {x.state.ids.shape} {x.state.ids.dtype}, {size:.1f} MB with "
      "slots, on the host"
    )
  else:
    tables["ID table"] = x.state.ids
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
