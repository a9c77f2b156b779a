"""Whose the output folder is: one data set, of certain inputs and options."""

from collections.abc import Iterator, Mapping, Sequence
import hashlib
import json
import logging
import os
import pathlib
from typing import Any

import pyarrow as pa

from dicm_jax import errors
from dicm_jax.data import files, prepared, schema_file
from dicm_jax.data.preparation import job as job_lib
from dicm_jax.data.preparation import manifest as manifest_lib

_log = logging.getLogger(__name__)


def identity(
  job: job_lib.Job,
  inputs: Sequence[pathlib.Path],
  options: Mapping[str, Any],
) -> str:
  """Digest of all that decides the result.

  A file counts by its name, size and time of its last change, the item table by
  its content.

  Args:
    job: schema, files of the log and item table.
    inputs: further files, and folders with all that is in them.
    options: as plain values.
  """
  values = {
    "format": manifest_lib.FORMAT,
    "schema": schema_file.to_dict(job.schema),
    "log": [_stamp(path, path.name) for path in job.events.files],
    "items": _table_digest(job.events.items),
    "inputs": [_stamps(path, job.out) for path in inputs],
    "on_bad": job.on_bad,
    "options": dict(options),
  }
  text = json.dumps(values, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def _stamp(path: pathlib.Path, name: str) -> list[str | int]:
  found = path.stat()
  return [name, found.st_size, found.st_mtime_ns]


def _stamps(path: pathlib.Path, out: pathlib.Path) -> str:
  """Digest of a file's stamp, or of those of all files in a folder."""
  found = hashlib.sha256()
  for file in [path] if path.is_file() else _walk(path, out.absolute()):
    name = file.relative_to(path.parent).as_posix()
    found.update(json.dumps(_stamp(file, name)).encode())
  return found.hexdigest()


def _walk(folder: pathlib.Path, out: pathlib.Path) -> Iterator[pathlib.Path]:
  """All files in an order of their own; not those that we make ourselves."""
  for place, folders, names in os.walk(folder):
    here = pathlib.Path(place)
    folders[:] = sorted(f for f in folders if (here / f).absolute() != out)
    for name in sorted(names):
      if (here / name).is_file():
        yield here / name


def _table_digest(table: pa.Table | None) -> str:
  found = hashlib.sha256()
  for batch in table.to_batches(max_chunksize=1 << 16) if table else ():
    found.update(batch.serialize())
  return found.hexdigest()


def claim(out: pathlib.Path, found: str) -> bool:
  """Whether there is work to do in a folder that may be written.

  Args:
    out: the folder.
    found: identity of what is to be made in it.

  Raises:
    InputError: the folder holds something else, or cannot be made.
  """
  job_file = out / job_lib.WORK / "job.json"
  if (out / job_lib.MANIFEST).exists():
    manifest = prepared.read_manifest(out)
    if manifest.get("identity") != found:
      raise errors.InputError(
        f"--out: {out} holds a data set of other inputs or options, or an "
        "input was changed since; name another folder"
      )
    prepared.check_digests(out, manifest)
    manifest_lib.clean(out)
    return False
  if job_file.exists():
    if _identity_in(job_file) != found:
      raise errors.InputError(
        f"--out: {out} was begun with other inputs or options, or an input "
        "was changed since; name another folder, or remove it"
      )
    _log.info("going on with %s", out)
    return True
  _check_empty(out)
  try:
    files.write_json(job_file, {"identity": found})
  except OSError as e:
    raise errors.InputError(f"--out: {out} cannot be made: {e}") from e
  return True


def _identity_in(file: pathlib.Path) -> str:
  try:
    return str(json.loads(file.read_text())["identity"])
  except (OSError, ValueError, KeyError, TypeError, RecursionError) as e:
    raise errors.InputError(
      f"{file}: cannot be read: {e}; remove the folder of --out"
    ) from e


def _check_empty(out: pathlib.Path) -> None:
  if not out.exists():
    return
  if not out.is_dir() or any(p.name != job_lib.WORK for p in out.iterdir()):
    raise errors.InputError(
      f"--out: {out} holds files but no data set; name an empty or new folder"
    )
