"""Prepared data sets, made wrong by somebody who mends their manifest."""

import json
import pathlib
import tempfile

import numpy as np
import pyarrow as pa

from dicm_jax.data import feature_files, files, prepared, source
from dicm_jax.data.preparation import job as job_lib
from dicm_jax.data.preparation import learning, stages
from dicm_jax.data.preparation import manifest as manifest_lib
from tests.data import logs
from tests.faults.fuzz import judge


def _made(folder: pathlib.Path) -> pathlib.Path:
  """A small data set with pictures, titles and features."""
  job = logs.job(folder, logs.rows(users=4, events=40), files=1)

  def images():
    wanted = learning.wanted_pictures(job)
    return stages.store_pictures(job, logs.pictures(wanted))

  def titles():
    table = pa.table({"key": ["p1", "p2"], "title": ["Red dress", "鞋"]})
    return stages.store_titles(job, table, source.Bad())

  stages.prepare(job, images, logs.local, titles)
  keys = feature_files.image_keys(job.out)
  encoder = feature_files.Encoder(
    name="squeezenet", digest="0" * 64, width=4, dtype="int8", notice=""
  )
  numbers = np.random.default_rng(0).random((len(keys), 4), np.float32)
  feature_files.write_part(job.out, encoder, 0, keys, numbers)
  feature_files.finish(job.out, encoder)
  manifest_lib.finish(job, {"identity": "x"})
  return job.out


def load(path: pathlib.Path) -> None:
  """As training reads it: all rows, pictures and features."""
  root = _root(path)
  data = prepared.load(root)
  for log in (data.train, data.test):
    for feature in data.features:
      _rows(log, feature)
    assert ((log.ad_image >= 0) & (log.ad_image < len(data.image_names))).all()
  assert len(list(data.image_bytes)) == len(data.image_names)
  held = data.held("0" * 64, False)
  assert held is None or len(held.everything()) == len(data.image_names)


def _rows(log, feature) -> None:
  """Every row that a batch may ask for is in the table."""
  of = (*log.user_ids.items(), *log.ad_ids.items(), *log.ad_lists.items())
  rows = dict(of)[feature.name]
  rows = rows if isinstance(rows, np.ndarray) else rows.values
  assert ((rows >= 0) & (rows < feature.rows)).all()


def mapped(path: pathlib.Path) -> None:
  """As training maps its features from a file."""
  root = _root(path)
  try:
    held = feature_files.held(root, "0" * 64, True)
    if held is not None:
      held.take(np.arange(len(held.values)))
  finally:
    for file in root.rglob("*.npy"):
      file.unlink()


def users(path: pathlib.Path) -> None:
  for split in job_lib.SPLITS:
    prepared.user_keys(_root(path), split)


def _root(path: pathlib.Path) -> pathlib.Path:
  return next(p for p in path.parents if p.name == "set")


def signed(path: pathlib.Path) -> None:
  """Makes the manifest say what the changed file is."""
  manifest = _root(path) / job_lib.MANIFEST
  if path == manifest:
    return
  said = json.loads(manifest.read_text())
  name = path.relative_to(_root(path)).as_posix()
  if name in said["files"]:
    size, digest = path.stat().st_size, files.digest(path)
    said["files"][name] = {"bytes": size, "sha256": digest}
    manifest.write_text(json.dumps(said))


def targets() -> dict[str, judge.Target]:
  with tempfile.TemporaryDirectory() as place:
    out = _made(pathlib.Path(place))
    made = {
      f"set/{p.relative_to(out)}": p.read_bytes()
      for p in sorted(out.rglob("*"))
      if p.is_file()
    }
  return {
    "data set": judge.Target(
      files=made,
      reads=(load, mapped, users),
      lie=signed,
      place=lambda path: str(_root(path)),
    )
  }
