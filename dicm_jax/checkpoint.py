"""Checkpoints of a run: state and data position, written behind its back."""

from collections.abc import Iterable, Iterator
import contextlib
import dataclasses
import logging
import pathlib
from typing import Any

import jax
from jaxtyping import PyTree
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
  options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
  with ocp.CheckpointManager(
    (workdir / FOLDER).absolute(), options=options
  ) as opened:
    yield opened


def save(
  opened: ocp.CheckpointManager, step: int, state: PyTree, position: dict
) -> None:
  """Starts writing; the arrays are copied before this returns."""
  opened.save(
    step,
    args=ocp.args.Composite(
      state=ocp.args.StandardSave(state), position=ocp.args.JsonSave(position)
    ),
  )


def restore(
  opened: ocp.CheckpointManager, like: PyTree
) -> tuple[PyTree, dict] | None:
  """Reads the newest sound checkpoint, onto the mesh that `like` lies on.

  Args:
    opened: the run's checkpoints.
    like: a state of the same shape, whose shardings are taken over.

  Returns:
    State and data position; None where there is no checkpoint.

  Raises:
    InputError: there are checkpoints and none can be read.
  """
  abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
  steps = sorted(opened.all_steps(), reverse=True)
  for step in steps:
    try:
      found = opened.restore(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardRestore(abstract),
          position=ocp.args.JsonRestore(),
        ),
      )
      return found["state"], found["position"]
    # Orbax and tensorstore raise many kinds for a damaged file.
    except Exception as e:
      _log.warning("checkpoint %d cannot be read, trying an older: %s", step, e)
  if steps:
    raise errors.InputError(
      f"{opened.directory}: none of the checkpoints {steps} can be read; "
      "move the folder away to begin anew"
    )
  return None


def steps(workdir: pathlib.Path) -> list[int]:
  """Steps of a run's whole checkpoints, ascending; changes nothing."""
  folder = (workdir / FOLDER).absolute()
  return sorted(ocp.utils.checkpoint_steps(folder)) if folder.is_dir() else []


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
