"""Checkpoints of a run: state and data position, written behind its back."""

from collections.abc import Iterable, Iterator, Mapping
import contextlib
import dataclasses
import logging
import pathlib
import sys
from typing import Any

import jax
from jaxtyping import PyTree
import numpy as np
import orbax.checkpoint as ocp

from dicm_jax import errors

_log = logging.getLogger(__name__)

FOLDER = "checkpoints"


@contextlib.contextmanager
def manager(
  workdir: pathlib.Path, *, keep: int = 1
) -> Iterator[ocp.CheckpointManager]:
  """Opens a run's checkpoints; waits for unfinished writes at the end.

  Orbax writes into a temporary folder and renames it, so that a checkpoint is
  whole or absent however the process ends.

  Args:
    workdir: the run's folder.
    keep: how many of the newest to keep.
  """
  options = ocp.CheckpointManagerOptions(
    max_to_keep=keep,
    create=True,
    cleanup_tmp_directories=True,  # What a killed process was writing.
  )
  with ocp.CheckpointManager(
    (workdir / FOLDER).absolute(), options=options
  ) as opened:
    yield opened


def save(
  opened: ocp.CheckpointManager, step: int, state: PyTree, position: dict
) -> None:
  """Starts writing; the arrays, NumPy's too, are copied before this returns."""
  saved = opened.save(
    step,
    args=ocp.args.Composite(
      state=ocp.args.StandardSave(state), position=ocp.args.JsonSave(position)
    ),
  )
  # Orbax keeps silent where a step is there already, and so does its result.
  assert saved, f"step {step} is not newer than {opened.latest_step()}"


def steps(workdir: pathlib.Path) -> list[int]:
  """Steps of a run's whole checkpoints, ascending; changes nothing."""
  folder = (workdir / FOLDER).absolute()
  return sorted(ocp.utils.checkpoint_steps(folder)) if folder.is_dir() else []


def drop_after(opened: ocp.CheckpointManager, step: int) -> None:
  """Deletes newer checkpoints, so that the run can write them anew."""
  for newer in opened.all_steps():
    if newer > step:
      _log.warning("checkpoint %d cannot be read and is deleted", newer)
      opened.delete(newer)


def drop_surplus(opened: ocp.CheckpointManager, keep: int) -> None:
  """Deletes all but the newest: a process may be killed while it does so."""
  for old in sorted(opened.all_steps())[:-keep]:
    opened.delete(old)


def restore(
  workdir: pathlib.Path, like: PyTree, inputs: Mapping[str, str]
) -> tuple[PyTree, dict] | None:
  """Reads the newest sound checkpoint, onto the mesh that `like` lies on.

  Changes nothing in the folder.

  Args:
    workdir: the run's folder.
    like: a state of the same shape, whose shardings are taken over.
    inputs: digests of the files that the run reads, by config key; compared
      with those in the data position.

  Returns:
    State and data position; None where there is no checkpoint.

  Raises:
    InputError: there are checkpoints and none can be read, or the files have
      other contents than those that the run was trained on.
  """
  found = steps(workdir)
  if not found:
    return None
  folder = (workdir / FOLDER).absolute()
  # Orbax's own `read_only` warns of itself, thrice.
  options = ocp.CheckpointManagerOptions(create=False)
  with (
    ocp.CheckpointManager(folder, options=options) as opened,
    hidden_late_answers(),
  ):
    for step in reversed(found):
      try:
        position = _read(opened, step, "position", ocp.args.JsonRestore())
        _check_inputs(workdir, position, inputs)
        return _read(opened, step, "state", _like(like)), position
      except errors.InputError:
        raise
      # Orbax and tensorstore raise many kinds for a damaged file.
      except Exception as e:
        _log.warning(
          "checkpoint %d cannot be read, trying an older: %s", step, e
        )
  raise errors.InputError(
    f"{folder}: none of the checkpoints {found} can be read; "
    "move the folder away to begin anew"
  )


def _like(tree: PyTree) -> ocp.args.StandardRestore:
  """What is wanted: NumPy's arrays as such, all others where they lie."""

  def shape(leaf):
    # For a shape that lies nowhere orbax takes the devices of the saved one.
    on_host = isinstance(leaf, np.ndarray)
    return leaf if on_host else ocp.utils.to_shape_dtype_struct(leaf)

  return ocp.args.StandardRestore(jax.tree.map(shape, tree))


def _read(opened: ocp.CheckpointManager, step: int, name: str, how):
  return opened.restore(step, args=ocp.args.Composite(**{name: how}))[name]


def _check_inputs(workdir, position: dict, inputs: Mapping[str, str]) -> None:
  before = position.get("inputs", inputs)  # Older versions did not note them.
  changed = [key for key in sorted(inputs) if before.get(key) != inputs[key]]
  if changed:
    lines = "\n  ".join(f"{k}: {before.get(k)} -> {inputs[k]}" for k in changed)
    raise errors.InputError(
      f"--workdir: {workdir} was trained on other contents of these; put them "
      f"back, or name another folder (digest there -> now):\n  {lines}"
    )


def name_of(path: Iterable[Any]) -> str:
  """Dotted name of a leaf, e.g. dense.net.layers.0.kernel."""
  return jax.tree_util.keystr(tuple(path), simple=True, separator=".")


@dataclasses.dataclass(frozen=True)
class Saved:
  """One checkpoint of a run, read in parts; its folder stays as it is."""

  workdir: pathlib.Path
  step: int

  def position(self) -> dict:
    """What was given to `save` as the data position."""
    with self._reading(), ocp.Checkpointer(ocp.JsonCheckpointHandler()) as file:
      return file.restore(self._item("position"))

  def shapes(self, parts: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Shapes of all arrays in these entries of the state, by dotted name."""
    with self._reading(), ocp.PyTreeCheckpointer() as file:
      tree = file.metadata(self._item("state")).item_metadata.tree
    wanted = {name: tree[name] for name in parts if name in tree}
    leaves = jax.tree_util.tree_leaves_with_path(wanted)
    return {name_of(path): tuple(leaf.shape) for path, leaf in leaves}

  def read(self, like: dict[str, PyTree]) -> dict[str, PyTree]:
    """Reads the entries of `like` alone, onto the mesh that they lie on."""
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    wanted = ocp.args.PyTreeRestore(
      abstract,
      restore_args=ocp.checkpoint_utils.construct_restore_args(abstract),
      partial_restore=True,
    )
    with self._reading(), ocp.PyTreeCheckpointer() as file:
      return file.restore(self._item("state"), args=wanted)

  def _item(self, name: str) -> pathlib.Path:
    return (self.workdir / FOLDER / str(self.step) / name).absolute()

  @contextlib.contextmanager
  def _reading(self) -> Iterator[None]:
    """Makes whatever orbax and tensorstore raise an InputError."""
    try:
      yield
    except Exception as e:
      raise errors.InputError(
        f"checkpoint {self.step} of {self.workdir} cannot be read: {e}"
      ) from e


@contextlib.contextmanager
def hidden_late_answers() -> Iterator[None]:
  """Keeps dozens of tracebacks about one damaged file off the screen.

  Orbax leaves its event loop at the first array that cannot be read. The
  answers to the other reads find it closed, and Python prints each.
  """
  show = sys.unraisablehook

  def show_others(what) -> None:
    if "Event loop is closed" not in str(what.exc_value):
      show(what)

  sys.unraisablehook = show_others
  try:
    yield
  finally:
    sys.unraisablehook = show
