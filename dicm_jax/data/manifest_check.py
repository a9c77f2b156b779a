"""Whether a manifest says what those who read it rely on."""

from collections.abc import Mapping
import pathlib
from typing import Any

import numpy as np

from dicm_jax import errors
from dicm_jax.data import schema as schema_lib

_KINDS: dict[str, type] = {
  "schema": dict,
  "rows": dict,
  "dense": dict,
  "files": dict,
  "notice": str,
}
_MAX_ROWS = 2**31 - 1
"""Rows are int32."""
_LARGEST = float(np.finfo(np.float32).max)


def check(file: pathlib.Path, manifest: Mapping[str, Any]) -> None:
  """Looks at the entries, and that the files lie in the data set's folder.

  Raises:
    InputError: an entry is missing or of another kind, or a name leads out of
      the folder.
  """
  for key, kind in _KINDS.items():
    if not isinstance(manifest.get(key), kind):
      raise _wrong(file, key, f"an entry of type {kind.__name__}", manifest)
  for name, entry in manifest["files"].items():
    path = pathlib.PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not name.isprintable():
      raise errors.InputError(
        f"{file}: files: expected names within the folder, found {name!r}"
      )
    if len(name) > 255:
      raise errors.InputError(f"{file}: files: the name {name!r} is too long")
    if not isinstance(entry, dict) or not _is_file(entry):
      raise _wrong(file, name, "bytes and sha256", manifest["files"])


def _is_file(entry: Mapping[str, Any]) -> bool:
  digest = entry.get("sha256")
  return type(entry.get("bytes")) is int and isinstance(digest, str)


def check_features(
  file: pathlib.Path, manifest: Mapping[str, Any], schema: schema_lib.Schema
) -> None:
  """Looks whether each feature has what its kind needs.

  Raises:
    InputError: a number of rows or a scale is missing or out of range.
  """
  for field in schema.feature:
    if field.kind in schema_lib.ID_KINDS:
      rows = manifest["rows"].get(field.name)
      if type(rows) is not int or not 1 <= rows <= _MAX_ROWS:
        raise _wrong(file, field.name, "a number of rows", manifest["rows"])
    elif field.kind == "dense":
      scale = manifest["dense"].get(field.name)
      if not isinstance(scale, dict) or not _is_scale(scale, field.width):
        expected = f"mean and deviation of {field.width} numbers"
        raise _wrong(file, field.name, expected, manifest["dense"])


def _is_scale(scale: Mapping[str, Any], width: int) -> bool:
  mean, deviation = scale.get("mean"), scale.get("deviation")
  for part in (mean, deviation):
    if not isinstance(part, list) or len(part) != width:
      return False
    if not all(map(_is_finite, part)):
      return False
  return all(number > 0 for number in deviation or ())


def _is_finite(number: Any) -> bool:
  return type(number) in (int, float) and abs(number) <= _LARGEST


def _wrong(
  file: pathlib.Path, key: str, expected: str, given: Mapping[str, Any]
) -> errors.InputError:
  return errors.InputError(
    f"{file}: {key}: expected {expected}, found {given.get(key)!r:.200}"
  )
