"""A bundle says what it is, comes whole, and is refused where it is damaged."""

import json
import shutil

import numpy as np
import pytest

from dicm_jax import checkpoint, errors, export, workdir
from dicm_jax.data import files, vectors
from dicm_jax.serving import bundle as bundle_lib
from tests import toy


@pytest.fixture
def copy(made, tmp_path):
  return shutil.copytree(made.bundle.folder, tmp_path / "copy")


def test_manifest_lists_every_file_with_its_digest(made):
  folder, manifest = made.bundle.folder, made.bundle.manifest
  there = {
    path.relative_to(folder).as_posix()
    for path in folder.rglob("*")
    if path.is_file()
  }
  assert there == {*manifest["files"], bundle_lib.MANIFEST}
  for name, entry in manifest["files"].items():
    assert entry["sha256"] == files.digest(folder / name)
    assert entry["bytes"] == (folder / name).stat().st_size
  json.dumps(manifest, allow_nan=False)
  assert manifest["step"] == 3
  assert manifest["scored"]["auc_lost"] == pytest.approx(0, abs=1e-6)
  # Float32 sums in another order.
  assert manifest["scored"]["largest_difference"] < 1e-5


def test_card_tells_figures_with_intervals_and_notices(made):
  card = (made.bundle.folder / bundle_lib.CARD).read_text()
  figures = made.bundle.manifest["figures"]
  assert f"| AUC | {figures['auc']:.4f} | {figures['auc_low']:.4f} to" in card
  for notice in ("data_notice", "weights_notice"):
    assert made.bundle.manifest[notice] in card


def test_vectors_of_pictures_can_be_searched(made):
  found = vectors.read(made.bundle.folder / bundle_lib.IMAGES)
  assert found.keys == made.bundle.image_keys
  np.testing.assert_array_equal(found.values, made.bundle.images)
  assert found.digest == made.bundle.manifest["encoder"]["digest"]


@pytest.mark.parametrize(
  "name",
  [
    bundle_lib.IMAGES,
    bundle_lib.ids_file("liked"),
    bundle_lib.NET,
    bundle_lib.PARAMETERS,
    bundle_lib.EXAMPLE,
  ],
)
def test_changed_or_missing_file_is_refused_by_name(copy, name):
  file = copy / name
  content = bytearray(file.read_bytes())
  content[len(content) // 2] ^= 1
  file.write_bytes(content)
  with pytest.raises(errors.InputError, match=f"{name}: expected SHA-256"):
    bundle_lib.read(copy)
  file.unlink()
  with pytest.raises(errors.InputError, match=f"{name}: expected a file"):
    bundle_lib.read(copy)


def edited(folder, **values):
  path = folder / bundle_lib.MANIFEST
  path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"format": 99}, "expected format 1, found 99"),
    ({"files": ["net"]}, "expected a list of files"),
    ({"files": {"../run/config.json": {"sha256": ""}}}, "lies outside"),
    ({"fields": {"ids": [{}], "dense": []}}, "fields of the bundle"),
    ({"widths": {"ids": 13, "images": 12}}, "vectors of 13 numbers, found"),
    ({"widths": None}, "expected the manifest of an exported model"),
  ],
)
def test_wrong_manifest_is_refused_with_what_is_wrong(copy, values, message):
  edited(copy, **values)
  with pytest.raises(errors.InputError, match=message):
    bundle_lib.read(copy)


def test_folder_that_is_no_bundle_is_refused(tmp_path):
  with pytest.raises(errors.InputError, match=r"dicm_jax\.export, found no"):
    bundle_lib.read(tmp_path)
  (tmp_path / bundle_lib.MANIFEST).write_text("{")
  with pytest.raises(errors.InputError, match="cannot be read"):
    bundle_lib.read(tmp_path)


def test_unknown_dtype_is_told_before_any_work(tmp_path):
  workdir.claim(tmp_path / "run", toy.values())
  (tmp_path / "run" / checkpoint.FOLDER).mkdir()
  with pytest.raises(errors.InputError, match="unknown --dtype 'float8'"):
    export.export_run(tmp_path / "run", tmp_path / "out", dtype="float8")
  assert not (tmp_path / "out").exists()
