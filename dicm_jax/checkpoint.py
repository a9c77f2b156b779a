"""Checkpoints of a run: state and data position, written behind its back."""

from collections.abc import Iterator, Mapping
import contextlib
import itertools
import logging
import pathlib
from typing import Any

from jaxtyping import PyTree
import orbax.checkpoint as ocp

from dicm_jax import config_tree, errors, processes, seal
from dicm_jax.saved import FOLDER, Saved

_log = logging.getLogger(__name__)

DAMAGED = "damaged"
"""Folder of a run for checkpoints that are out of the way and kept."""


@contextlib.contextmanager
def manager(
  workdir: pathlib.Path, *, keep: int = 1
) -> Iterator[ocp.CheckpointManager]:
  """Opens a run's checkpoints; waits for unfinished writes at the end.

  Orbax writes into a temporary folder and renames it, so that a checkpoint is
  whole or absent however the process ends.

  Args:
    workdir: the run's folder.
    keep: how many of the newest to keep; an older one is deleted once a newer
      is whole.

  Raises:
    WriteError: the folder, or the last checkpoint, could not be written.
  """
  options = ocp.CheckpointManagerOptions(
    max_to_keep=keep,
    create=True,
    cleanup_tmp_directories=True,  # What a killed process was writing.
  )
  folder = (workdir / FOLDER).absolute()
  with _without_tracebacks():
    with errors.writing(folder):
      opened = ocp.CheckpointManager(folder, options=options)
    try:
      yield opened
    except errors.LostProcessError:
      raise  # What is being written waits for that process.
    except BaseException:
      _close(opened)
      raise
    _close(opened)


def save(
  opened: ocp.CheckpointManager, step: int, state: PyTree, position: dict
) -> None:
  """Starts writing; the arrays, NumPy's too, are copied before this returns.

  Raises:
    WriteError: this checkpoint, or the one before, could not be written.
  """
  finish(opened)
  args = ocp.args.Composite(
    state=ocp.args.StandardSave(state),
    position=ocp.args.JsonSave(seal.sealed(step, state, position)),
  )
  with _writing(opened, step):
    # Orbax would make a run's folder anew that somebody has removed.
    opened.directory.stat()
    saved = opened.save(step, args=args)
  # Orbax keeps silent where a step is there already, and so does its result.
  assert saved, f"step {step} is not newer than {opened.latest_step()}"


def check(opened: ocp.CheckpointManager) -> None:
  """Looks whether the last write has failed; waits for none.

  Raises:
    WriteError: it has.
  """
  # Orbax's `check_for_errors` would take the error from the thread that must
  # not delete older checkpoints then.
  if not opened.is_saving_in_progress():
    finish(opened)


def finish(opened: ocp.CheckpointManager) -> None:
  """Waits for the last write.

  Raises:
    WriteError: it has failed.
  """
  with _writing(opened, opened.latest_step()):
    opened.wait_until_finished()


def _close(opened: ocp.CheckpointManager) -> None:
  try:
    finish(opened)
  finally:
    opened.close()


@contextlib.contextmanager
def _writing(opened: ocp.CheckpointManager, step: int | None) -> Iterator[None]:
  """Orbax and tensorstore raise many kinds where a disk is full."""
  path = pathlib.Path(opened.directory) / str(step)
  with errors.writing(path, Exception), processes.loss_reported():
    yield


@contextlib.contextmanager
def _without_tracebacks() -> Iterator[None]:
  """Keeps orbax from printing errors that it also raises."""
  logger = logging.getLogger("absl")

  def is_plain(record: logging.LogRecord) -> bool:
    return not record.exc_info

  logger.addFilter(is_plain)
  try:
    yield
  finally:
    logger.removeFilter(is_plain)


def steps(workdir: pathlib.Path) -> list[int]:
  """Steps of a run's checkpoints, damaged ones too, ascending."""
  folder = workdir / FOLDER
  # Of those that were not written to their end orbax makes longer names.
  names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
  return sorted(int(name) for name in names if name.isdecimal())


def come_to(workdir: pathlib.Path) -> str:
  """What a run that had to stop can go on from, for its last words."""
  found = steps(workdir)
  if not found:
    return f"There is no checkpoint in {workdir}"
  return (
    f"The newest checkpoint in {workdir} is of step {found[-1]}; the same "
    "command goes on from there once the folder can be written"
  )


def set_aside(workdir: pathlib.Path, step: int) -> None:
  """Moves newer checkpoints out of the way of those that the run will write.

  They could not be read, but that may have been the machine's fault; so they
  are kept.
  """
  for newer in steps(workdir):
    if newer > step:
      names = (f"{newer}{end}" for end in _ends())
      places = (workdir / DAMAGED / name for name in names)
      place = next(place for place in places if not place.exists())
      with errors.writing(place):
        place.parent.mkdir(exist_ok=True)
        (workdir / FOLDER / str(newer)).rename(place)
      _log.warning("checkpoint %d is kept as %s", newer, place)


def _ends() -> Iterator[str]:
  return itertools.chain([""], (f".{n}" for n in itertools.count(1)))


def drop_surplus(opened: ocp.CheckpointManager, keep: int) -> None:
  """Deletes all but the newest: a process may be killed while it does so."""
  for old in sorted(opened.all_steps())[:-keep]:
    opened.delete(old)


def restore(
  workdir: pathlib.Path,
  like: PyTree,
  inputs: Mapping[str, str],
  config: Mapping[str, Any] | None = None,
) -> tuple[PyTree, dict] | None:
  """Reads the newest sound checkpoint, onto the mesh that `like` lies on.

  Changes nothing in the folder.

  Args:
    workdir: the run's folder.
    like: a state of the same shape, whose shardings are taken over.
    inputs: digests of the files that the run reads, by config key; compared
      with those in the data position.
    config: `config_tree.kept` of the run, compared as well; None: of any.

  Returns:
    State and data position; None where there is no checkpoint.

  Raises:
    InputError: there are checkpoints and none can be read; or one is of a newer
      version or another config; or the files have other contents than those
      that the run was trained on.
  """
  found = steps(workdir)
  for step in reversed(found):
    saved = Saved(workdir, step)
    try:
      position = saved.position()
      _check_config(saved, position.values, config)
      _check_inputs(workdir, position.values, inputs)
      state = saved.state(like)
    except seal.Damaged as e:
      _log.warning("%s; trying an older one", e)
      continue
    if position.fingerprints is None:
      _log.info("checkpoint %d has no fingerprints: taken as it is", step)
    return state, position.values
  if found:
    raise errors.InputError(
      f"{(workdir / FOLDER).absolute()}: none of the checkpoints {found} can "
      "be read; move the folder away to begin anew"
    )
  return None


def _check_config(saved: Saved, position: dict, config) -> None:
  before = position.get("config", config)  # Older versions did not note it.
  changed = config_tree.changed(config, before) if config is not None else []
  if changed:
    lines = "\n  ".join(changed)
    raise errors.InputError(
      f"--workdir: checkpoint {saved.step} of {saved.workdir} is of a run of "
      f"another config; move it away (there -> here):\n  {lines}"
    )


def _check_inputs(workdir, position: dict, inputs: Mapping[str, str]) -> None:
  before = position.get("inputs", inputs)  # Older versions did not note them.
  changed = [key for key in sorted(inputs) if before.get(key) != inputs[key]]
  if changed:
    lines = "\n  ".join(f"{k}: {before.get(k)} -> {inputs[k]}" for k in changed)
    raise errors.InputError(
      f"--workdir: {workdir} was trained on other contents of these; put them "
      f"back, or name another folder (digest there -> now):\n  {lines}"
    )
