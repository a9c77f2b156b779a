"""Training of an encoder on pairs of pictures, as the loop sees it."""

from collections.abc import Iterator
import functools
import pathlib

from flax import nnx
import grain
import jax
import jax.numpy as jnp
import numpy as np

from dicm_jax import experiment, optim, restore
from dicm_jax import task as task_lib
from dicm_jax.data import augment, click_log, pairs
from dicm_jax.data import images as images_lib
from dicm_jax.model import encoder_file, encoders, pairwise
from dicm_jax.pairwise import score, step
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
  experiment.check_batch_size(config.train.batch_size, mesh)
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
    batches=functools.partial(_batches, config, data, order, mesh),
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


def _batches(
  config: Config,
  data: click_log.Dataset,
  order: pairs.Order,
  mesh,
  first_step: int,
  end_step: int,
) -> Iterator[step.Batch]:
  """Batches of steps [first_step, end_step), made by threads ahead of time."""
  mine = mesh_lib.my_devices(mesh)

  def make(number: int) -> step.Batch:
    found = order(number)
    rng = np.random.Generator(np.random.Philox(key=[config.seed, number]))
    shown = _pictures(config, data, np.stack(found), rng)
    by_device = np.stack(np.split(shown, mesh.size, axis=1))
    weight = np.ones((mesh.size, len(found.anchor) // mesh.size), np.float32)
    return step.Batch(by_device[mine], weight[mine])

  steps = grain.MapDataset.range(first_step, end_step).map(make)
  options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
  for batch in steps.to_iter_dataset(options):
    yield mesh_lib.put_slices(mesh, batch)


def _pictures(config: Config, data: click_log.Dataset, rows, rng):
  """Decodes each distinct picture once, and changes it anew at each place."""
  distinct, index = np.unique(rows, return_inverse=True)
  pictures = images_lib.decode_all(
    [data.image_bytes[i] for i in distinct],
    [data.image_names[i] for i in distinct],
    config.encoder.image_size,
  )
  shown = pictures[index.reshape(-1)]
  if config.pairs.shift:
    shown = augment.at_random(shown, config.pairs.shift, rng)
  return shown.reshape(*rows.shape, *pictures.shape[1:])
