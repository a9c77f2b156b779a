"""A run as its newest checkpoint has it, on any mesh."""

from collections.abc import Mapping
import dataclasses
import logging
import pathlib
import re
from typing import Any, NamedTuple

from dicm_jax import any_config, checkpoint, config_tree, errors, experiment
from dicm_jax import config as config_lib
from dicm_jax import state as state_lib
from dicm_jax import workdir as workdir_lib
from dicm_jax.any_config import AnyConfig

_log = logging.getLogger(__name__)


class Restored(NamedTuple):
  """A run's config, its parts, and the state it has come to."""

  config: config_lib.Config
  x: experiment.Experiment
  state: state_lib.State


def restore(workdir: pathlib.Path, mesh: str = "") -> Restored:
  """Reads a run; writes nothing.

  Args:
    workdir: the run's folder.
    mesh: "WxS", worker x server devices; "" takes the run's own.

  Raises:
    InputError: no run, no checkpoint, a mesh that does not fit, or other data
      or weights than the run's.
  """
  config = any_config.clicks_only(read_config(workdir, mesh), f"{workdir}")
  # What is predicted does not depend on it, and a CPU knows no other.
  train = dataclasses.replace(config.train, exchange="padded")
  config = dataclasses.replace(config, train=train)
  x = experiment.build(config, restored=True)
  return Restored(config, x, newest(workdir, config, x.state, x.inputs))


def newest(
  workdir: pathlib.Path,
  config: AnyConfig,
  like: Any,
  inputs: Mapping[str, str],
) -> Any:
  """The newest checkpoint's state, see `checkpoint.restore`.

  A run at work in the folder deletes old checkpoints. If it did so with the one
  that was being read, there is a newer one to read.

  Raises:
    InputError: there is none, or it is of another config, data or weights.
  """
  kept = config_tree.kept(config)
  while True:
    before = checkpoint.steps(workdir)
    try:
      found = checkpoint.restore(workdir, like, inputs, kept)
    except errors.InputError:
      if checkpoint.steps(workdir) == before:
        raise
      _log.info("the run has a newer checkpoint by now, which is read instead")
      continue
    if found is None:
      raise errors.InputError(f"--workdir: {workdir} holds no checkpoint yet")
    return found[0]


def read_config(workdir: pathlib.Path, mesh: str = "") -> AnyConfig:
  """The config to restore a run with; a quick look whether it can be.

  Raises:
    InputError: as `restore`, but for what only reading the run can tell.
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
  return config
