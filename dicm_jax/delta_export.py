"""What is new in a catalogue since a bundle was exported, as a delta.

Keys are compared, and digests of what vectors were made of; only what differs
is read and embedded, and by the bundle alone.
"""

from collections.abc import Sequence
import hashlib
import json
import pathlib
from typing import Any

import numpy as np

from dicm_jax import (
  any_config,
  checkpoint,
  errors,
  new_ids,
  out_folder,
  restore,
  saved,
  seal,
)
from dicm_jax import catalogue as catalogue_lib
from dicm_jax.data import quantise
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import delta, delta_folder

PARTS = ("ids", "dense", "standard")
"""Of a state: all that decides what a bundle holds."""


def parameters_digest(fingerprints: dict[str, str]) -> str:
  """Tells the trained parameters of one checkpoint from another's.

  Args:
    fingerprints: of the state's arrays, by dotted name.
  """
  kept = {
    name: found
    for name, found in fingerprints.items()
    if name.partition(".")[0] in PARTS
  }
  text = json.dumps(kept, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def export_delta(
  since: pathlib.Path,
  out: pathlib.Path,
  *,
  pictures: pathlib.Path | None = None,
  workdir: pathlib.Path | None = None,
  deltas: Sequence[pathlib.Path] = (),
  ads: pathlib.Path | None = None,
) -> dict[str, Any]:
  """Writes what is new since a bundle, and since the deltas that lie about.

  Args:
    since: folder of the bundle.
    out: an empty folder, or none yet.
    pictures: new pictures, and others that are compared: a folder, tar or
      Parquet files. Or
    workdir: the run, whose prepared data have changed: what they lack is
      removed.
    deltas: folders of deltas, besides the bundle's own.
    ads: table of new ads, see `new_ids.read`: their ids begin as the mean of
      those of ads whose pictures are near.

  Returns:
    The manifest.

  Raises:
    InputError: as `bundle.read`; the run has other parameters than the bundle;
      nothing is new; a picture is damaged; or the folder cannot be written.
  """
  out_folder.check_free(out)
  if pictures is not None and workdir is not None:
    raise errors.InputError(
      "--since: expected --pictures=PATH or --workdir=RUN, found both"
    )
  bundle = _since(since, deltas)
  images, ids = None, {}
  if pictures is not None:
    images = _images(bundle, catalogue_lib.Folder(pictures))
  elif workdir is not None:
    found = catalogue_lib.Prepared(_data_of(workdir, bundle))
    images = _images(bundle, found)
  if ads is not None:
    seen = delta.applied(bundle, delta.Tables(images, {}))
    ids = new_ids.of_neighbours(seen, *new_ids.read(ads))
  if images is None and not ids:
    raise errors.InputError(
      f"--since: nothing is new: all that --pictures, --workdir or --new_ids "
      f"name is in {since} and its deltas"
    )
  tables = delta.Tables(images, ids)
  with out_folder.filling(out) as folder:
    return delta.write(folder, bundle, tables, _about(bundle, tables))


def _since(
  folder: pathlib.Path, deltas: Sequence[pathlib.Path]
) -> bundle_lib.Bundle:
  """The bundle with the deltas applied that were made so far."""
  bundle = bundle_lib.read(folder)
  if bundle.image_sources is None:
    raise errors.InputError(
      f"{folder}: expected a bundle of a model that sees pictures, with a "
      f"column {bundle_lib.SOURCE!r} in {bundle_lib.IMAGES}; export the run "
      "again"
    )
  followed = delta_folder.follow(
    bundle, [bundle.folder / delta.FOLDER, *deltas]
  )
  for reason in followed.refused.values():
    raise errors.InputError(reason)
  return followed.bundle


def _data_of(workdir: pathlib.Path, bundle: bundle_lib.Bundle) -> pathlib.Path:
  """The prepared data of a run, if its parameters are the bundle's."""
  config = any_config.clicks_only(restore.read_config(workdir), f"{workdir}")
  steps = checkpoint.steps(workdir)
  if not steps:
    raise errors.InputError(f"--workdir: {workdir} holds no checkpoint yet")
  prints = saved.Saved(workdir, steps[-1]).position().fingerprints or {}
  if parameters_digest(prints) != bundle.manifest.get("parameters"):
    raise errors.InputError(
      f"--workdir: the parameters of {workdir} at step {steps[-1]} are not "
      f"those of {bundle.folder}, step {bundle.manifest['step']}: every vector "
      "has changed. Export the run as a whole, without --since"
    )
  if not config.data.path:
    raise errors.InputError(
      f"--workdir: {workdir} is of the built-in sample, which never changes; "
      "expected --pictures=PATH"
    )
  return pathlib.Path(config.data.path)


def _images(
  bundle: bundle_lib.Bundle, found: catalogue_lib.Catalogue
) -> delta.Changes | None:
  """What of the image table is another now; None: nothing."""
  known, sources = bundle.image_of, bundle.image_sources
  assert sources is not None
  rows = np.array([known.get(key, -1) for key in found.rows], np.int64)
  numbers = np.fromiter(found.rows.values(), np.int64, len(found.rows))
  same = (sources[rows] == found.sources[numbers]).all(axis=1)
  new = rows < 0
  keys = np.array(list(found.rows), object)
  added, changed = keys[new].tolist(), keys[~new & ~same].tolist()
  removed = [key for key in known if key not in found.rows] * found.whole
  made = [*added, *changed]
  if not made and not removed:
    return None
  width = bundle.images.shape[1]
  vectors = np.zeros((len(made) + len(removed), width), np.float32)
  if made:
    vectors[: len(made)] = found.vectors(bundle, made)
  digests = np.zeros((len(vectors), 32), np.uint8)
  digests[: len(made)] = found.sources[[found.rows[key] for key in made]]
  # As the bundle's type has them: applied, they are what a full export reads.
  packed = quantise.pack(vectors, bundle.manifest["dtype"])
  return delta.Changes(
    (*made, *removed),
    ("added",) * len(added)
    + ("changed",) * len(changed)
    + ("removed",) * len(removed),
    quantise.unpack(packed),
    digests,
  )


def _about(bundle: bundle_lib.Bundle, tables: delta.Tables) -> dict[str, Any]:
  ops = tables.images.ops if tables.images else ()
  return {
    "dicm_jax": seal.version(),
    "parameters": bundle.manifest["parameters"],
    "encoder": bundle.manifest["encoder"]["digest"],
    "counts": {op: ops.count(op) for op in delta.OPS}
    | {f"new {name}": len(c.keys) for name, c in tables.ids.items()},
  }
