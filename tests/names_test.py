"""Names from data and configs never lead out of the folders that are given."""

import json
import pathlib
import tempfile

import hypothesis
from hypothesis import strategies as st
import pyarrow as pa
import pytest

from dicm_jax import errors, workdir
from dicm_jax.data import (
  feature_files,
  field,
  image_store,
  manifest_check,
  prepared,
  source,
)
from dicm_jax.model import encoder_file
from tests import toy
from tests.data import logs

PARTS = st.sampled_from(
  [
    "..",
    ".",
    "/",
    "\\",
    "a",
    "etc",
    "passwd",
    "\0",
    "~",
    "C:",
    " ",
    "é",
    "n" * 300,
  ]
)
NAMES = st.one_of(st.lists(PARTS, max_size=5).map("".join), st.text(max_size=9))
few = hypothesis.settings(
  max_examples=150, derandomize=True, database=None, deadline=None
)


def is_inside(folder: pathlib.Path, name: str) -> bool:
  path = (folder / name).resolve()
  return path != folder and path.is_relative_to(folder)


def seen(folder: pathlib.Path) -> set[str]:
  return {p.relative_to(folder).as_posix() for p in folder.rglob("*")}


@hypothesis.given(NAMES)
@few
def test_a_feature_is_a_plain_file_name_or_refused(name):
  root = pathlib.Path("/nowhere")
  try:
    field.Field(name=name, side="ad", kind="id")
  except errors.InputError:
    return
  assert is_inside(root, name)
  assert (root / f"{name}.parquet").parent == root
  assert len(name) <= 100


@hypothesis.given(NAMES)
@few
def test_a_manifest_speaks_of_files_in_its_folder(name):
  root = pathlib.Path("/nowhere")
  entries = {"schema": {}, "rows": {}, "dense": {}, "notice": ""}
  files = {name: {"bytes": 1, "sha256": "0" * 64}}
  try:
    manifest_check.check(root, entries | {"files": files})
  except errors.InputError as e:
    assert str(root) in str(e)
    return
  assert (root / name).resolve().is_relative_to(root)


@hypothesis.given(NAMES, NAMES)
@few
def test_an_encoder_says_nothing_of_another_folder(name, digest):
  values = {
    "name": name,
    "digest": digest,
    "width": 1,
    "dtype": "int8",
    "notice": "",
  }
  with tempfile.TemporaryDirectory() as place:
    root = pathlib.Path(place)
    folder = root / feature_files.FOLDER / "net-00000000"
    folder.mkdir(parents=True)
    (folder / feature_files.META).write_text(json.dumps(values))
    try:
      (found,) = feature_files.encoders(root)
    except errors.InputError as e:
      assert feature_files.META in str(e)
      return
    assert found.folder == folder.name


@hypothesis.given(NAMES)
@few
def test_a_backbone_is_a_known_name(name):
  for key in ("image__backbone", "image__mode", "image__tier"):
    try:
      toy.values(**{key: name})
    except errors.InputError:
      continue
    assert key == "image__backbone"  # It is looked up where it is built.


KEYS = (
  "../../up",
  "/etc/passwd",
  "a/../../b",
  "nul\0byte",
  "n" * 100_000,
  "\x1b[2J",
  " ",
  "..",
)


def test_no_key_of_a_picture_names_a_file(tmp_path):
  """A whole preparation; keys stand in Parquet files, as text."""
  home = tmp_path / "deep" / "home"
  events = logs.rows(users=4, events=60)
  for number, event in enumerate(events):
    event["picture"] = KEYS[number % len(KEYS)]
    event["ad_id"] = event["user"] = KEYS[number % len(KEYS)]
  made = logs.job(home, events)
  titles = pa.table({"key": list(KEYS), "title": list(KEYS)})

  def store():
    return logs.stages.store_pictures(made, logs.pictures(KEYS))

  def name():
    return logs.stages.store_titles(made, titles, source.Bad())

  logs.stages.prepare(made, store, logs.local, name)
  logs.manifest_lib.finish(made, {"identity": "test"})
  assert seen(tmp_path / "deep") == {
    "home",
    *(f"home/{path}" for path in seen(home)),
  }
  assert {p.name for p in home.iterdir()} == {"log", "out"}
  assert all(len(p.name) < 40 for p in home.rglob("*"))
  data = prepared.load(made.out)
  assert set(data.image_names) == {"", *KEYS}
  assert image_store.names(made.out / "images") == list(data.image_names)


def test_a_link_in_a_workdir_is_replaced_and_not_followed(tmp_path):
  outside, run = tmp_path / "precious.txt", tmp_path / "run"
  outside.write_text("precious")
  run.mkdir()
  names = (workdir.CONFIG, workdir.METRICS, workdir.EVAL)
  for name in (f"{workdir.CONFIG}.part", f"{workdir.EVAL}.part"):
    (run / name).symlink_to(outside)
  (run / f"{encoder_file.NAME}.part").symlink_to(outside)
  workdir.write_text(run / workdir.CONFIG, "{}")
  workdir.write_json(run / workdir.EVAL, {})
  workdir.keep_metrics_until(run, 1)
  workdir.append_metrics(run, {"step": 1})
  assert outside.read_text() == "precious"
  assert not any((run / name).is_symlink() for name in names)
  (run / workdir.METRICS).unlink()
  (run / workdir.METRICS).symlink_to(outside)
  with pytest.raises(errors.InputError, match="found a link"):
    workdir.append_metrics(run, {"step": 2})
  assert outside.read_text() == "precious"
