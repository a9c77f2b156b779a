"""What lies with a checkpoint's data position, to tell whether it is whole.

`format` is the layout's version and `version` the program's; `step` is there as
a folder may be renamed; `fingerprints` are of the state's arrays, by dotted
name; `sha256` is of all of this and the position, as JSON with sorted keys.
Later formats keep `format`, `version` and `sha256`, so that an older program
knows a newer checkpoint from a damaged one.
"""

import hashlib
import importlib.metadata
import json
from typing import Any, NamedTuple

from jaxtyping import PyTree

from dicm_jax import errors, fingerprint

FORMAT = 1
_ADDED = ("format", "version", "fingerprints", "sha256")


class Damaged(errors.InputError):
  """A checkpoint is not what was saved."""


class Newer(errors.InputError):
  """A checkpoint is of a version that this one does not know."""


class Position(NamedTuple):
  """A data position that is whole."""

  values: dict[str, Any]
  """What was saved, and the step."""
  fingerprints: dict[str, str] | None
  """None: it is of a version that noted none."""


def sealed(step: int, state: PyTree, position: dict[str, Any]) -> dict:
  """The position with what is to lie beside it; each process must call it."""
  whole = position | {
    "step": step,
    "format": FORMAT,
    "version": version(),
    "fingerprints": fingerprint.of(state),
  }
  return whole | {"sha256": _digest(whole)}


def opened(found: Any, step: int) -> Position:
  """What `sealed` was given, once it is known to be that.

  Args:
    found: what was read.
    step: that the checkpoint's folder names.

  Raises:
    Damaged: it is something else.
    Newer: so it is.
  """
  if not isinstance(found, dict):
    raise Damaged(f"its position is no mapping but {found!r}")
  if not found.keys() & set(_ADDED):
    return Position(found, None)
  if found.get("sha256") != _digest(found):
    raise Damaged("its position is not the one that was saved")
  if found["format"] != FORMAT:
    raise Newer(
      f"was written by dicm_jax {found['version']} in format "
      f"{found['format']}; this is {version()}, which reads formats up to "
      f"{FORMAT}. Use the newer version"
    )
  if found["step"] != step:
    raise Damaged(f"it is of step {found['step']}")
  values = {key: v for key, v in found.items() if key not in _ADDED}
  return Position(values, found["fingerprints"])


def check(position: Position, arrays: PyTree) -> None:
  """Compares arrays with those that were saved; each process must call it.

  Args:
    position: of their checkpoint.
    arrays: all of them or some, in their places in the tree.

  Raises:
    Damaged: some are others.
  """
  if position.fingerprints is None:
    return
  found = fingerprint.of(arrays)
  others = [k for k, v in found.items() if position.fingerprints.get(k) != v]
  if others:
    raise Damaged("not as they were saved: " + ", ".join(others))


def version() -> str:
  """The program's, as it was installed."""
  try:
    return importlib.metadata.version("dicm_jax")
  except importlib.metadata.PackageNotFoundError:
    return "(not installed)"


def _digest(whole: dict[str, Any]) -> str:
  signed = {key: value for key, value in whole.items() if key != "sha256"}
  text = json.dumps(signed, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()
