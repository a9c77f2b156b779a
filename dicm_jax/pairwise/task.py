"""Training of an encoder on pairs of pictures, as the loop sees it."""

import functools
import pathlib

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from dicm_jax import experiment, optim, restore
from dicm_jax import task as task_lib
from dicm_jax.data import click_log, pairs
from dicm_jax.model import encoder_file, encoders, pairwise
from dicm_jax.pairwise import batches, score, step
from dicm_jax.pairwise.config import Config
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
    InputError: a value of the config, or a file it names, is wrong.
  """
  mesh = mesh_lib.make_mesh(config.mesh.worker, config.mesh.server, devices)
  experiment.check_batch_size(config.train.batch_size, mesh.size)
  dense = optim.make_dense(config.dense_optimizer)
  data = experiment.load_data(config.data) if data is None else data
  order = _order(config, data)
  definition, params = _encoder(config)
  program = step.Program(
    mesh=mesh,
    encoder_def=definition,
    loss=pairwise.LOSSES[config.pairs.loss],
    dense=dense,
  )
  state = step.State(jnp.int32(0), params, dense.init(params))
  check = step.make_check(program)

  def finish(state, folder: pathlib.Path | None) -> task_lib.Figures:
    if folder:
      trained = jax.tree.map(np.asarray, state.encoder)
      file = folder / encoder_file.NAME
      encoder_file.write(file, config.encoder, trained)
    return score.figures(config, data, state)

  return task_lib.Task(
    state=jax.tree.map(
      functools.partial(mesh_lib.put, mesh, mesh_lib.REPLICATED), state
    ),
    batches=functools.partial(batches.stream, config, data, order, mesh),
    step=step.make_train_step(program),
    is_sound=lambda state, batch: check(state),
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
  state = restore.newest(workdir, task.state, task.inputs)
  return task.finish(state, None)


def _order(config: Config, data: click_log.Dataset) -> pairs.Order:
  log = data.train
  clicks = pairs.find(log, click_log.with_picture(data, log))
  return pairs.shuffled(log, clicks, config.seed, config.train.batch_size)


def _encoder(config: Config):
  """The encoder's definition and first parameters."""
  groups = step.ROLES if config.pairs.statistics == "separate" else 1

  def make():
    return encoders.make(
      config.encoder,
      groups=groups,
      total=mesh_lib.total,
      rngs=nnx.Rngs(config.seed),
    )

  definition = nnx.split(nnx.eval_shape(make))[0]
  params = jax.jit(lambda: nnx.to_pure_dict(nnx.state(make())))()
  return definition, params
