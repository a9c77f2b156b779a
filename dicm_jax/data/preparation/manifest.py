"""The manifest of a prepared data set, written when all else is done."""

import json
import pathlib
import shutil
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from dicm_jax import errors
from dicm_jax.data import feature_files, files, schema_file, source
from dicm_jax.data import schema as schema_lib
from dicm_jax.data.preparation import encode
from dicm_jax.data.preparation.job import MANIFEST, SPLITS, WORK, Job

FORMAT = 1
"""Version of the layout."""


def finish(job: Job, options: dict[str, Any]) -> None:
  """Writes the manifest and removes the working files.

  Args:
    job: the job, all its stages done.
    options: further entries of the manifest.

  Raises:
    InputError: the training or the test split is empty.
  """
  encoded = [
    json.loads(job.encode_marker(i).read_text()) for i in range(job.partitions)
  ]
  splits = {name: _sum_splits(encoded, name) for name in SPLITS}
  for name, counts in splits.items():
    if not counts["samples"]:
      total = sum(s["samples"] for s in splits.values())
      raise errors.InputError(
        f"the {name} split is empty: [split] rule {job.schema.split.rule!r} "
        f"put none of the {total} samples there"
      )
  manifest = options | {
    "format": FORMAT,
    "schema": schema_file.to_dict(job.schema),
    "notice": job.events.notice,
    "splits": splits,
    "rows": {
      f.name: _rows_of_feature(job, f)
      for f in job.schema.feature
      if f.kind in schema_lib.ID_KINDS
    },
    "images": len(feature_files.image_keys(job.out)),
    "dense": _dense_scales(encoded),
    "left_out": _tally(encoded),
    **_titles(job),
    "bad": _bad(job),
    "inputs": [
      {"name": p.name, "bytes": p.stat().st_size} for p in job.events.files
    ],
    "files": _file_list(job.out),
  }
  files.write_json(job.out / MANIFEST, manifest)
  clean(job.out)


def clean(out: pathlib.Path) -> None:
  """Removes the working files of a finished preparation."""
  files.remove_parts(out)
  shutil.rmtree(out / WORK, ignore_errors=True)


def _sum_splits(encoded, name: str) -> dict[str, int]:
  keys = ("groups", "samples", "clicks")
  return {
    k: sum(e["splits"].get(name, {}).get(k, 0) for e in encoded) for k in keys
  }


def _rows_of_feature(job: Job, field: schema_lib.Field) -> int:
  """Rows of a feature's table, row 0 included."""
  if field.vocabulary == "hash":
    return field.buckets + 1
  path = job.vocabulary(field.name)
  return pq.ParquetFile(path).metadata.num_rows + 1


def _dense_scales(encoded) -> dict[str, dict[str, list[float]]]:
  """Mean and deviation of each dense number over the training split."""
  out = {}
  for name in sorted({k for e in encoded for k in e["dense"]}):
    parts = [e["dense"][name] for e in encoded if name in e["dense"]]
    count, total, squares = np.array(parts, np.float64).sum(0)
    mean = total / np.maximum(count, 1)
    variance = squares / np.maximum(count, 1) - mean**2
    deviation = np.sqrt(np.maximum(variance, 0))
    deviation[deviation == 0] = 1
    out[name] = {"mean": mean.tolist(), "deviation": deviation.tolist()}
  return out


def _tally(encoded) -> dict[str, int]:
  total: encode.Tally = encode.Tally()
  for entry in encoded:
    total.update(entry["tally"])
  return dict(sorted(total.items()))


def _titles(job: Job) -> dict[str, dict[str, int]]:
  """How many image rows have a title, where titles were given."""
  if not job.titles_marker.exists():
    return {}
  found = json.loads(job.titles_marker.read_text())
  return {"titles": {key: found[key] for key in ("given", "missing")}}


def _bad(job: Job) -> dict[str, Any]:
  """What --on_bad=skip left out."""
  parts = [job.events.bad.summary(), *job.reads()]
  for marker in (job.images_marker, job.titles_marker):
    if marker.exists():
      parts.append(json.loads(marker.read_text()))
  entries = [entry for part in parts for entry in part["bad"]]
  return {
    "count": sum(part["bad_count"] for part in parts),
    "first": entries[: source.Bad.KEPT],
  }


def _file_list(out: pathlib.Path) -> dict[str, dict[str, Any]]:
  """Size and digest of each file of the data set."""
  return {
    path.relative_to(out).as_posix(): {
      "bytes": path.stat().st_size,
      "sha256": files.digest(path),
    }
    for path in sorted(out.rglob("*.parquet"))
    if WORK not in path.relative_to(out).parts
  }
