"""One checkpoint read, whole or in parts, and compared with what was saved."""

from collections.abc import Iterable, Iterator
import contextlib
import dataclasses
import functools
import pathlib
from typing import Any

import jax
from jaxtyping import PyTree
import numpy as np
import orbax.checkpoint as ocp

from dicm_jax import errors, fingerprint, seal
from dicm_jax.sharding import mesh as mesh_lib

FOLDER = "checkpoints"


@dataclasses.dataclass(frozen=True)
class Saved:
  """One checkpoint of a run; its folder stays as it is.

  All methods raise:
    Damaged: it cannot be read, or is not what was saved.
    Newer: a newer version has written it.
  """

  workdir: pathlib.Path
  step: int

  def position(self) -> seal.Position:
    """What was given to `checkpoint.save` as the data position."""
    return self._position

  @functools.cached_property
  def _position(self) -> seal.Position:
    """Read once: it is asked for before the arrays are, and to compare them."""
    with self._reading(), ocp.Checkpointer(ocp.JsonCheckpointHandler()) as file:
      return seal.opened(file.restore(self._item("position")), self.step)

  def state(self, like: PyTree) -> PyTree:
    """Reads the whole state, onto the mesh that `like` lies on."""
    return self._read(ocp.StandardCheckpointHandler(), _like(like))

  def parts(self, like: dict[str, PyTree]) -> dict[str, PyTree]:
    """Reads the entries of `like` alone, onto the mesh that they lie on."""
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    wanted = ocp.args.PyTreeRestore(
      abstract,
      restore_args=ocp.checkpoint_utils.construct_restore_args(abstract),
      partial_restore=True,
    )
    return self._read(ocp.PyTreeCheckpointHandler(), wanted)

  def shapes(self, parts: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Shapes of all arrays in these entries of the state, by dotted name."""
    with self._reading(), ocp.PyTreeCheckpointer() as file:
      tree = file.metadata(self._item("state")).item_metadata.tree
      wanted = {name: tree[name] for name in parts if name in tree}
    leaves = jax.tree_util.tree_leaves_with_path(wanted)
    return {
      fingerprint.name_of(path): tuple(leaf.shape) for path, leaf in leaves
    }

  def _read(self, handler: Any, wanted: Any) -> PyTree:
    position = self.position()
    with _together(), self._reading(), ocp.Checkpointer(handler) as file:
      found = file.restore(self._item("state"), args=wanted)
    with self._reading():
      seal.check(position, found)
    return found

  def _item(self, name: str) -> pathlib.Path:
    return (self.workdir / FOLDER / str(self.step) / name).absolute()

  @contextlib.contextmanager
  def _reading(self) -> Iterator[None]:
    """Makes whatever orbax and tensorstore raise Damaged, and names it."""
    name = f"checkpoint {self.step} of {self.workdir}"
    try:
      yield
    except seal.Newer as e:
      raise seal.Newer(f"{name} {e}") from e
    except Exception as e:
      raise seal.Damaged(f"{name} cannot be read: {errors.reason(e)}") from e


def _like(tree: PyTree) -> ocp.args.StandardRestore:
  """What is wanted: NumPy's arrays as such, all others where they lie."""

  def shape(leaf):
    # For a shape that lies nowhere orbax takes the devices of the saved one.
    on_host = isinstance(leaf, np.ndarray)
    return leaf if on_host else ocp.utils.to_shape_dtype_struct(leaf)

  return ocp.args.StandardRestore(jax.tree.map(shape, tree))


@contextlib.contextmanager
def _together() -> Iterator[None]:
  """Lets what fails on one process fail on all, before they go on together."""
  failed = None
  try:
    yield
  except seal.Damaged as e:
    failed = e
  anywhere = mesh_lib.largest({"failed": int(failed is not None)})["failed"]
  if failed:
    raise failed
  if anywhere:
    raise seal.Damaged("another process cannot read its part")
