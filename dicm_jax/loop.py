"""A whole run: restore or begin, train, save, evaluate, report."""

import logging
import math
import pathlib
import time
from typing import Any

import jax

from dicm_jax import (
  checkpoint,
  click_task,
  config_tree,
  errors,
  preemption,
  processes,
  progress,
  run_lock,
)
from dicm_jax import workdir as workdir_lib
from dicm_jax.any_config import AnyConfig
from dicm_jax.pairwise import config as pairwise_config
from dicm_jax.pairwise import task as pairwise_task
from dicm_jax.profiling import recorder
from dicm_jax.task import Cause, Figures, Task

_log = logging.getLogger(__name__)


def train_and_evaluate(
  config: AnyConfig,
  workdir: pathlib.Path,
  *,
  profile: bool = False,
  notice: preemption.Notice | None = None,
) -> Figures:
  """Trains as the config says and returns the figures of eval.json.

  Args:
    config: as made by a file of configs/.
    workdir: folder of the run; one with checkpoints of the same config is
      continued. Its own checkpoints come before a warm-up.
    profile: whether to find out where the time of a step goes.
    notice: by which the run is told to stop; None: by nothing.

  Raises:
    InputError: the config, the folder or the data are wrong, or another run is
      at work in the folder.
    NonFiniteError: the numbers went out of bounds.
    WriteError: a file of the folder could not be written.
    Preempted: the run was told to stop; it goes on when it is called again.
  """
  workdir_lib.check(workdir, config)
  with run_lock.RunLock(workdir) as lock:
    processes.on_first(lock.take_if_run)
    return _run(config, workdir, lock, profile, notice or preemption.Notice())


def _run(config: AnyConfig, workdir, lock, profile, notice) -> Figures:
  """A run whose folder, if there is one yet, is free."""
  steps = _steps_left(config, workdir)
  if profile:
    recorder.check_length(steps)
  task = _task(config, workdir)
  if profile:
    task = recorder.profiled(task, workdir)
  restored = checkpoint.restore(
    workdir, task.state, task.inputs, config_tree.kept(config)
  )

  def claim() -> None:
    lock.take()
    workdir_lib.claim(workdir, config)
    checkpoint.set_aside(workdir, int(restored[0].step) if restored else 0)

  processes.on_first(claim)  # Not before all else is sound.
  if _writes():
    for line in task.about:
      _log.info("%s", line)
  with (
    checkpoint.manager(workdir, keep=config.checkpoint.keep) as saved,
    processes.loss_reported(),
  ):
    state = _restored_or_first(config, task, restored, saved)
    checkpoint.drop_surplus(saved, config.checkpoint.keep)
    if _writes():
      workdir_lib.keep_metrics_until(workdir, int(state.step))
    state = _train(config, workdir, task, state, saved, notice)
    figures = task.finish(state, workdir if _writes() else None)
  if _writes():
    workdir_lib.write_json(workdir / workdir_lib.EVAL, figures)
  return figures


def _task(config: AnyConfig, workdir: pathlib.Path) -> Task:
  if isinstance(config, pairwise_config.Config):
    return pairwise_task.make(config)
  return click_task.make(config, workdir)


def _writes() -> bool:
  """Of several processes one writes the log; all write the checkpoints."""
  return jax.process_index() == 0


def _steps_left(config: AnyConfig, workdir: pathlib.Path) -> int:
  """Steps to make; refuses to end a run before the one it has come to."""
  done = max(checkpoint.steps(workdir), default=0)
  if done > config.train.steps:
    raise errors.InputError(
      f"train.steps: expected >= {done}, the steps that the run in {workdir} "
      f"has made; found {config.train.steps}"
    )
  return config.train.steps - done


def _restored_or_first(config, task: Task, restored, saved) -> Any:
  if restored is None:
    if task.keep_first:
      # From now on a restart needs the other run no more.
      checkpoint.save(saved, 0, task.state, _position(config, task, 0))
    return task.state
  state, position = restored
  _log.info(
    "restored step %d, after %d samples", int(state.step), position["samples"]
  )
  return state


def _train(config: AnyConfig, workdir, task: Task, state, saved, notice):
  """Steps from the state's own step to the last; saves on the way."""
  first, last = int(state.step), config.train.steps
  batches = task.batches(first, last)
  with progress.training(last, first) as show, notice.noted():
    since, start = first, time.monotonic()
    before = None
    for step, batch in enumerate(batches, start=first + 1):
      state, loss = task.step(state, batch)
      # Devices work on this step while the loss of the one before is read, and
      # the next batch comes.
      _check_finite(task, state, before, saved)
      before = step, batch, loss
      if step % config.train.log_every_steps == 0 or step == last:
        _check_finite(task, state, before, saved)
        checkpoint.check(saved)
        seconds = time.monotonic() - start
        rate = (step - since) * task.batch_size / seconds
        record = {"loss": float(loss), "examples_per_s": rate}
        if _writes():
          show(step, record)
          workdir_lib.append_metrics(workdir, {"step": step} | record)
        since, start = step, time.monotonic()
      stops = step == last or notice.to_any()
      if step % config.checkpoint.every_steps == 0 or stops:
        _check_finite(task, state, before, saved)
        _save(config, task, state, batch, saved)
      if stops and step < last:
        raise errors.Preempted(f"stopped after step {step}, which is saved")
    checkpoint.finish(saved)
  return task.at_rest(state)


def _save(config: AnyConfig, task: Task, state, batch, saved) -> None:
  """Saves the state that a step has made, if it is of any use."""
  step = int(state.step)
  if not task.is_sound(state, batch):
    raise _out_of_bounds(f"step {step} made a useless state", saved)
  at_rest = task.at_rest(state)
  checkpoint.save(saved, step, at_rest, _position(config, task, step))


def _check_finite(task: Task, state, at: tuple | None, saved) -> None:
  """Stops a run that refused a step, (number, batch, loss)."""
  if at is None or math.isfinite(at[2]):
    return
  # Later steps may have been asked for; they changed nothing either.
  step, batch, _ = at
  cause = task.explain(state, batch, step)
  raise _out_of_bounds(f"step {step}: {cause.what}", saved, cause)


def _position(config: AnyConfig, task: Task, step: int) -> dict[str, Any]:
  """Where in the data a state is, which data, and what its numbers speak of."""
  return {
    "config": config_tree.kept(config),
    "samples": step * task.batch_size,
    "inputs": dict(task.inputs),
    "meaning": dict(task.meaning),
  }


def _out_of_bounds(
  what: str, saved, cause: Cause | None = None
) -> errors.NonFiniteError:
  newest = saved.latest_step()
  sound = (
    "there is none" if newest is None else f"the newest is of step {newest}"
  )
  remedy = "Lower the optimisers' learning_rate, in a new --workdir"
  if cause and cause.in_data:
    remedy = "Correct the data, and train in a new --workdir"
  where = f"\n  {cause.where}" if cause and cause.where else ""
  return errors.NonFiniteError(
    f"{what}, so training stopped.{where}\n  Only sound checkpoints are kept "
    f"({sound}). {remedy}"
  )
