"""Checkpoints of a run: state and data position, written behind its back."""

from collections.abc import Iterator
import contextlib
import logging
import pathlib

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
