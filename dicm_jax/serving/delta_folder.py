"""Folders in which deltas are put, and what of them fits a bundle."""

from collections.abc import Sequence
import pathlib
from typing import NamedTuple

from dicm_jax import errors
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import delta as delta_lib


class Followed(NamedTuple):
  """A bundle that has followed its deltas."""

  bundle: bundle_lib.Bundle
  taken: list[str]
  """Folders of the deltas applied now, in order."""
  refused: dict[str, str]
  """By folder, why a delta of this bundle was not applied."""


def marks(folders: Sequence[pathlib.Path]) -> tuple:
  """Tells one state of the folders from another without reading the files."""
  return tuple(
    (path.as_posix(), found.st_mtime_ns, found.st_size)
    for one in _deltas(folders)
    for path in sorted(one.rglob("*"))
    if path.is_file() and (found := path.stat())
  )


def follow(
  bundle: bundle_lib.Bundle, folders: Sequence[pathlib.Path]
) -> Followed:
  """Applies all deltas that stand on the bundle, each on the one before.

  Deltas of other bundles, and those applied already, are passed over.

  Args:
    bundle: the bundle, perhaps with some deltas applied.
    folders: in which deltas lie, each a folder of its own.
  """
  waiting, refused = _waiting(bundle, folders)
  taken: list[str] = []
  now = delta_lib.contents(bundle) if waiting else ""
  while fit := [one for one in waiting if one.manifest.get("since") == now]:
    one = fit[0]
    waiting.remove(one)
    try:
      bundle = delta_lib.follow(bundle, one)
      now = one.manifest["result"]  # It was compared with what came of it.
      taken.append(str(one.folder))
    except errors.InputError as e:
      refused[str(one.folder)] = str(e)
  for one in waiting:
    said = one.manifest.get("since")
    refused[str(one.folder)] = (
      f"{one.folder}: since: the delta is for {said}, here is {now}"
    )
  return Followed(bundle, taken, refused)


def _deltas(folders: Sequence[pathlib.Path]) -> list[pathlib.Path]:
  """Folders that hold a manifest, in order of their names."""
  return [
    path
    for folder in folders
    if folder.is_dir()
    for path in sorted(folder.iterdir())
    if not path.name.startswith(".") and (path / bundle_lib.MANIFEST).is_file()
  ]


def _waiting(bundle: bundle_lib.Bundle, folders: Sequence[pathlib.Path]):
  waiting, refused = [], {}
  for folder in _deltas(folders):
    try:
      found = delta_lib.read_manifest(folder)
    except errors.InputError as e:
      refused[str(folder)] = str(e)
      continue
    of_this = found.manifest.get("bundle") == bundle.digest
    if of_this and found.digest not in bundle.deltas:
      waiting.append(found)
  return waiting, refused
