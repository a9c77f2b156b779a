"""A whole run: restore or begin, train, save, evaluate, report."""

import logging
import math
import pathlib
import time
from typing import Any

import jax

from dicm_jax import (
  checkpoint,
  errors,
  evaluate,
  experiment,
  progress,
  slices,
  train,
  warm_up,
)
from dicm_jax import (
  config as config_lib,
)
from dicm_jax import predict as predict_lib
from dicm_jax import state as state_lib
from dicm_jax import workdir as workdir_lib

_log = logging.getLogger(__name__)


def train_and_evaluate(
  config: config_lib.Config, workdir: pathlib.Path
) -> evaluate.Figures:
  """Trains as the config says and returns the figures of eval.json.

  Args:
    config: as made by a file of configs/.
    workdir: folder of the run; one with checkpoints of the same config is
      continued. Its own checkpoints come before a warm-up.

  Raises:
    InputError: the config, the folder or the data are wrong.
    NonFiniteError: the numbers went out of bounds.
  """
  workdir_lib.check(workdir, config)
  _check_length(config, workdir)
  x = _build(config, workdir)
  restored = checkpoint.restore(workdir, x.state, x.inputs)
  if _writes():
    workdir_lib.claim(workdir, config)  # Not before all else is sound.
    _log_start(x)
  with checkpoint.manager(workdir, keep=config.checkpoint.keep) as saved:
    state = _restored_or_first(config, x, restored, saved)
    checkpoint.drop_after(saved, int(state.step))
    if _writes():
      workdir_lib.keep_metrics_until(workdir, int(state.step))
    state = _train(config, workdir, x, state, saved)
    found = evaluate.evaluate(x, state, config)
  if _writes():
    parts = slices.table(x.data, found.probability)
    workdir_lib.write_json(workdir / workdir_lib.SLICES, parts)
    workdir_lib.write_json(workdir / workdir_lib.EVAL, found.figures)
  return found.figures


def _writes() -> bool:
  """Of several processes one writes the log; all write the checkpoints."""
  return jax.process_index() == 0


def _check_length(config: config_lib.Config, workdir: pathlib.Path) -> None:
  """Refuses to end a run before the step that it has come to."""
  done = max(checkpoint.steps(workdir), default=0)
  if done > config.train.steps:
    raise errors.InputError(
      f"train.steps: expected >= {done}, the steps that the run in {workdir} "
      f"has made; found {config.train.steps}"
    )


def _build(
  config: config_lib.Config, workdir: pathlib.Path
) -> experiment.Experiment:
  """The experiment, its first state from another run where this one is new."""
  if checkpoint.steps(workdir):
    return experiment.build(config)
  warm_up.check(config.warm_up)
  return warm_up.start(config, experiment.build(config))


def _restored_or_first(
  config, x: experiment.Experiment, restored, saved
) -> state_lib.State:
  if restored is None:
    if config.warm_up.mode != "none":
      # From now on a restart needs the other run no more.
      checkpoint.save(saved, 0, x.state, _position(config, x, 0))
    return x.state
  state, position = restored
  _log.info(
    "restored step %d, after %d samples", int(state.step), position["samples"]
  )
  return state


def _train(config, workdir, x: experiment.Experiment, state, saved):
  """Steps from the state's own step to the last; saves on the way."""
  first, last = int(state.step), config.train.steps
  batches = x.batches(first, last)
  train_step = train.make_train_step(x.program, state)
  is_sound = predict_lib.make_check(x.program, state)
  with progress.training(last, first) as show:
    since, start = first, time.monotonic()
    for step, batch in enumerate(batches, start=first + 1):
      state, loss = train_step(state, x.content, batch)
      if not math.isfinite(loss):
        raise _out_of_bounds(f"the loss is {loss} at step {step}", saved)
      if step % config.train.log_every_steps == 0 or step == last:
        seconds = time.monotonic() - start
        rate = (step - since) * x.batch_size / seconds
        record = {"loss": float(loss), "examples_per_s": rate}
        if _writes():
          show(step, record)
          workdir_lib.append_metrics(workdir, {"step": step} | record)
        since, start = step, time.monotonic()
      if step % config.checkpoint.every_steps == 0 or step == last:
        if not is_sound(state, x.content, batch):
          raise _out_of_bounds(f"step {step} made a useless state", saved)
        checkpoint.save(saved, step, state, _position(config, x, step))
  return state


def _position(config, x: experiment.Experiment, step: int) -> dict[str, Any]:
  """Where in the data a state is, which data, and what its numbers speak of."""
  return {
    "step": step,
    "samples": step * x.batch_size,
    "inputs": x.inputs,
    "meaning": warm_up.meaning(config, x),
  }


def _out_of_bounds(what: str, saved) -> errors.NonFiniteError:
  newest = saved.latest_step()
  sound = (
    "there is none" if newest is None else f"the newest is of step {newest}"
  )
  return errors.NonFiniteError(
    f"{what}, so training stopped. Only sound checkpoints are kept ({sound}). "
    "Lower dense_optimizer.learning_rate or sparse_optimizer.learning_rate, in "
    "a new --workdir"
  )


def _log_start(x: experiment.Experiment) -> None:
  """A few lines on what runs where."""
  mesh = x.program.mesh
  _log.info("mesh %s on %s", dict(mesh.shape), mesh.devices.flat[0].platform)
  tables = {"ID table": x.state.ids, "image table": x.content.table}
  for name, array in tables.items():
    shard = array.addressable_shards[0].data
    _log.info(
      "%s: %s %s, %.1f MB a device, %s",
      name,
      array.shape,
      array.dtype,
      shard.nbytes / 1e6,
      array.sharding,
    )
  _log.info("%s", x.weights_notice)
  if x.data.notice:
    _log.info("%s", x.data.notice)
