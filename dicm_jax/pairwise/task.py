"""Training of an encoder on pairs of items, as the loop sees it."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from dicm_jax import experiment, optim, restore
from dicm_jax import task as task_lib
from dicm_jax.data import click_log, pairs
from dicm_jax.model import pairwise
from dicm_jax.pairwise import anchors as anchors_lib
from dicm_jax.pairwise import batches, diagnosis, score, step
from dicm_jax.pairwise.config import Config
from dicm_jax.profiling import hlo
from dicm_jax.sharding import mesh as mesh_lib


def make(
  config: Config,
  *,
  data: click_log.Dataset | None = None,
  devices: list | None = None,
) -> task_lib.Task:
  """Builds the run that a config describes.

  Args:
    config: as made by configs/pairwise.py.
    data: the data set; None loads the one that the config names.
    devices: devices of the mesh; None takes all.

  Raises:
    InputError: a value of the config, or a file it names, is wrong, or the data
      lack what pairs are made of.
  """
  mesh = mesh_lib.make_mesh(config.mesh.worker, config.mesh.server, devices)
  experiment.check_batch_size(config.train.batch_size, mesh.size)
  dense = optim.make_dense(config.dense_optimizer)
  data = experiment.load_data(config.data) if data is None else data
  anchors = anchors_lib.ANCHORS[config.pairs.anchor](config, data)
  order = _order(config, data, anchors)
  params = anchors.params()
  program = step.Program(
    mesh=mesh,
    embed=anchors.embed,
    loss=pairwise.LOSSES[config.pairs.loss],
    dense=dense,
  )
  state = step.State(jnp.int32(0), params, dense.init(params))
  train_step = step.make_train_step(program)
  check = step.make_check(program)

  def finish(state, folder: pathlib.Path | None) -> task_lib.Figures:
    if folder:
      anchors.write(folder, jax.tree.map(np.asarray, state.encoder))
    return score.figures(config, data, anchors, state)

  return task_lib.Task(
    state=jax.tree.map(
      functools.partial(mesh_lib.put, mesh, mesh_lib.REPLICATED), state
    ),
    batches=functools.partial(
      batches.stream, config, data, anchors, order, mesh
    ),
    step=train_step,
    hlo=functools.partial(hlo.text_of, train_step),
    is_sound=lambda state, batch: check(state),
    explain=functools.partial(diagnosis.explain, program, data, order),
    finish=finish,
    batch_size=config.train.batch_size,
    inputs={"data.path": data.digest},
    meaning={},
    about=(f"mesh {dict(mesh.shape)}", *filter(None, [data.notice])),
  )


def evaluate_run(config: Config, workdir: pathlib.Path) -> task_lib.Figures:
  """Repeats the evaluation of a run from its newest checkpoint.

  Raises:
    InputError: as `make`, or there is no checkpoint of these data.
  """
  task = make(config)
  state = restore.newest(workdir, config, task.state, task.inputs)
  return task.finish(state, None)


def _order(
  config: Config, data: click_log.Dataset, anchors: anchors_lib.Anchors
) -> pairs.Order:
  log = data.train
  shown = click_log.with_picture(data, log)
  clicks = pairs.find(log, shown, anchors.of(log))
  return pairs.shuffled(log, clicks, config.seed, config.train.batch_size)
