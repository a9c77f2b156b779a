"""The command `prepare`, from files to a trained model."""

import dataclasses
import json
import pathlib
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from dicm_jax import (
  content,
  errors,
  experiment,
  features,
  prepare,
  tfds_builder,
)
from dicm_jax.data import prepared, schema_file
from dicm_jax.data.readers import xdl_example
from dicm_jax.model import backbone as backbone_lib
from tests import toy
from tests.data import logs
from tests.data.readers import infer_test

TOML = """
[log]
label = "click"
user = "user"
time = "timestamp"
[split]
rule = "time"
test_days = 2
[[feature]]
name = "user_id"
column = "user"
side = "user"
kind = "id"
[[feature]]
name = "item_id"
side = "ad"
kind = "id"
history = true
[[feature]]
name = "image"
side = "ad"
kind = "image"
history = true
"""


ITEMS = """
[items]
key = "item_id"
fields = ["price"]
[[feature]]
name = "price"
side = "ad"
kind = "dense"
"""


@pytest.fixture
def raw(tmp_path, monkeypatch):
  """A log with its pictures and schema."""
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  infer_test.write(tmp_path / "log.csv", infer_test.rows())
  (tmp_path / "schema.toml").write_text(TOML)
  (tmp_path / "pictures").mkdir()
  for i in range(11):
    (tmp_path / "pictures" / f"{i}.png").write_bytes(logs.png(i))
  return tmp_path


def options(raw: pathlib.Path, **changes) -> prepare.Options:
  values = {
    "format": "table",
    "samples": raw / "log.csv",
    "images": raw / "pictures",
    "schema": raw / "schema.toml",
    "out": raw / "out",
  }
  return prepare.Options(**values | changes)


def run(*args: str | pathlib.Path) -> subprocess.CompletedProcess:
  return subprocess.run(
    [sys.executable, "-m", "dicm_jax.prepare", *map(str, args)],
    cwd=pathlib.Path(__file__).parents[1],
    capture_output=True,
    text=True,
  )


@pytest.mark.slow
def test_a_schema_is_proposed_and_a_prepared_log_trains(raw):
  log = raw / "log.csv"
  proposed = run("--infer", f"--samples={log}")
  assert proposed.returncode == 0
  (raw / "proposed.toml").write_text(proposed.stdout)
  schema_file.load(raw / "proposed.toml")
  done = run(
    f"--samples={log}",
    f"--images={raw / 'pictures'}",
    f"--schema={raw / 'proposed.toml'}",
    f"--out={raw / 'out'}",
    "--backbone=squeezenet",
  )
  assert done.returncode == 0, done.stderr
  config = toy.values(data__path=str(raw / "out"), train__batch_size=16)
  x = experiment.build(config)
  _, losses = toy.run(x, 3)
  assert np.isfinite(losses).all()


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.slow
def test_stored_features_are_the_encoders(raw, monkeypatch, dtype):
  prepare.prepare(options(raw, backbone="squeezenet", dtype=dtype))
  data = prepared.load(raw / "out")
  encoder = backbone_lib.make("squeezenet")
  found = data.frozen(encoder.digest)
  expected = features.frozen_features(
    data.image_bytes, data.image_names, encoder, cache_dir=raw / "other"
  )
  assert found is not None
  worst = {"float32": 0, "float16": 2**-11, "int8": 1 / 254}[dtype]
  largest = abs(expected).max(axis=1, keepdims=True)
  assert np.all(abs(found - expected) <= worst * largest * 1.001)
  assert data.frozen("another encoder") is None


@pytest.mark.slow
def test_stored_features_are_of_the_cut_asked_for(raw):
  prepare.prepare(options(raw, backbone="vgg16", cut="conv5"))
  data = prepared.load(raw / "out")
  config = toy.values(image__backbone="vgg16", image__cut="conv5")
  found = data.frozen(content.kind(config).digest)
  assert found.shape == (len(data.image_names), 25088)
  other = dataclasses.replace(config.image, cut="")
  encoder = content.kind(dataclasses.replace(config, image=other))
  assert data.frozen(encoder.digest) is None
  with pytest.raises(errors.InputError, match="other inputs or options"):
    prepare.prepare(options(raw, backbone="vgg16"))


def test_the_layout_is_readable_with_pyarrow_alone(raw):
  manifest = prepare.prepare(options(raw))
  out = raw / "out"
  assert json.loads((out / "manifest.json").read_text()) == manifest
  assert not (out / ".work").exists()
  names = {p.relative_to(out).as_posix() for p in out.rglob("*.parquet")}
  assert names == set(manifest["files"])
  shard = pq.read_table(out / "train" / "part-00000.parquet")
  assert shard.column_names == [
    "user",
    "time",
    "user_id",
    "history_item_id",
    "history_image",
    "label",
    "item_id",
    "image",
  ]
  values = pq.read_table(out / "vocab" / "item_id.parquet").to_pydict()
  assert values["count"] == sorted(values["count"], reverse=True)


def test_learned_rows_carry_the_digest_of_their_vocabulary(raw):
  files = prepare.prepare(options(raw))["files"]
  (raw / "hashed.toml").write_text(
    TOML.replace('kind = "id"', 'kind = "id"\nvocabulary = "hash"\nbuckets = 9')
  )
  hashed = options(raw, schema=raw / "hashed.toml", out=raw / "hashed")
  prepare.prepare(hashed)
  found = {f.name: f.vocabulary for f in prepared.load(raw / "out").features}
  items = files["vocab/item_id.parquet"]["sha256"]
  assert found == {
    "user_id": files["vocab/user_id.parquet"]["sha256"],
    "item_id": items,
    "history_item_id": items,
  }
  assert not any(f.vocabulary for f in prepared.load(hashed.out).features)


def test_a_prepared_folder_is_not_made_twice(raw):
  first = prepare.prepare(options(raw))
  before = (raw / "out" / "manifest.json").stat().st_mtime_ns
  assert prepare.prepare(options(raw)) == first
  assert (raw / "out" / "manifest.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"format": "tabel"}, "unknown --format 'tabel'; did you mean 'table'"),
    ({"dtype": "int9"}, "unknown --dtype 'int9'"),
    ({"on_bad": "ignore"}, "unknown --on_bad 'ignore'"),
    ({"samples": pathlib.Path("none")}, "--samples: none does not exist"),
    ({"images": None}, "the schema names pictures"),
    ({"images": None, "backbone": "vgg16"}, "--backbone needs pictures"),
    ({"cut": "fc7"}, "--cut is of a backbone"),
    ({"backbone": "vgg16", "cut": "fc9"}, "unknown cut of vgg16 'fc9'"),
    ({"images": pathlib.Path("none")}, "--images: none does not exist"),
    ({"backbone": "vgg61"}, "unknown backbone 'vgg61'"),
  ],
)
def test_a_wrong_option_is_named_and_nothing_is_written(raw, change, message):
  with pytest.raises(errors.InputError) as caught:
    prepare.prepare(options(raw, **change))
  assert message in str(caught.value)
  assert not (raw / "out").exists()


def test_a_folder_of_another_kind_is_left_alone(raw):
  out = raw / "out"
  out.mkdir()
  (out / "mine.txt").write_text("keep")
  with pytest.raises(errors.InputError, match="holds files but no data set"):
    prepare.prepare(options(raw))
  (out / "mine.txt").unlink()
  prepare.prepare(options(raw))
  manifest = (out / "manifest.json").read_bytes()
  with pytest.raises(errors.InputError, match="other inputs or options"):
    prepare.prepare(options(raw, dtype="int8"))
  assert (out / "manifest.json").read_bytes() == manifest


def test_a_begun_folder_is_of_one_job(raw):
  log = raw / "log.csv"
  text = log.read_text()
  log.write_text(text + "2,u0,soon" + "," * 9 + "\n")
  with pytest.raises(errors.InputError, match="line 72: field 'click'"):
    prepare.prepare(options(raw))
  with pytest.raises(errors.InputError, match="begun with other inputs"):
    prepare.prepare(options(raw, on_bad="skip"))
  found = prepare.prepare(options(raw, on_bad="skip", out=raw / "second"))
  assert found["bad"]["first"] == [
    {
      "file": "log.csv",
      "line": 72,
      "what": "field 'click': expected 0 or 1, found '2'",
    }
  ]


def edit_log(raw):
  text = (raw / "log.csv").read_text()
  (raw / "log.csv").write_text(text.replace("u1,", "u2,", 1))


CHANGES = {
  "log of the same size": edit_log,
  "picture": lambda raw: (raw / "pictures/3.png").write_bytes(logs.png(99)),
  "one picture more": lambda raw: (raw / "pictures/x.png").write_bytes(b"x"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_an_input_was_is_not_taken_for_what_it_is(raw, change):
  first = prepare.prepare(options(raw))
  CHANGES[change](raw)
  with pytest.raises(errors.InputError, match="an input was changed since"):
    prepare.prepare(options(raw))
  again = prepare.prepare(options(raw, out=raw / "again"))
  assert again["identity"] != first["identity"]


def test_a_begun_folder_is_not_gone_on_with_from_another_log(raw):
  (raw / "pictures" / "3.png").write_bytes(b"damaged")
  with pytest.raises(errors.InputError, match="3"):
    prepare.prepare(options(raw))
  edit_log(raw)
  with pytest.raises(errors.InputError, match="an input was changed since"):
    prepare.prepare(options(raw))


def test_the_item_table_is_an_input(raw):
  text = TOML.replace("[[feature]]", ITEMS + "[[feature]]", 1)
  (raw / "items.toml").write_text(text)
  items = raw / "items.csv"
  items.write_text("item_id,price\n" + "".join(f"{i},{i}\n" for i in range(11)))
  given = options(raw, schema=raw / "items.toml", items=items)
  first = prepare.prepare(given)
  assert prepare.prepare(given) == first
  items.write_text(items.read_text().replace("5,5", "5,6"))
  with pytest.raises(errors.InputError, match="an input was changed since"):
    prepare.prepare(given)


@pytest.mark.parametrize("out", ["log.csv", "log.csv/out"])
def test_a_folder_that_cannot_be_made_is_named(raw, out):
  with pytest.raises(errors.InputError, match=r"--out: .*log\.csv"):
    prepare.prepare(options(raw, out=raw / out))


@pytest.mark.slow
def test_the_command_says_no_in_one_line(raw):
  done = run(f"--samples={raw / 'log.csv'}", f"--out={raw / 'o'}", "--format=x")
  assert done.returncode == 2
  assert done.stderr.startswith("dicm_jax: unknown --format 'x'")
  assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["xdl_example", "xdl_parity"])
def test_the_xdl_example_trains_from_its_files(name, tmp_path):
  xdl_example.generate(tmp_path, samples=300, images=60, files=4, width=4096)
  prepare.prepare(
    prepare.Options(
      format="xdl",
      samples=tmp_path / "samples.txt",
      vectors=tmp_path / "images",
      out=tmp_path / "out",
    )
  )
  config = toy.load_config(name)
  data = dataclasses.replace(config.data, path=str(tmp_path / "out"))
  x = experiment.build(dataclasses.replace(config, data=data))
  _, losses = toy.run(x, 5)
  assert np.isfinite(losses).all()
  assert x.content.table.shape[-1] == 4096
  assert x.program.model.image_vector == 24


def test_tfds_builder_makes_the_data_set_and_reads_it(raw):
  builder = tfds_builder.Prepared(options=options(raw), data_dir=raw / "tfds")
  builder.download_and_prepare()
  manifest = prepared.read_manifest(options(raw).out)
  for split in ("train", "test"):
    source = builder.as_data_source(split)
    labels = np.concatenate([group["label"] for group in source])
    assert len(source) == manifest["splits"][split]["groups"]
    assert labels.sum() == manifest["splits"][split]["clicks"]


@pytest.mark.slow
def test_workers_in_other_processes_make_the_same_data_set(raw):
  pytest.importorskip("apache_beam", reason="needs the extra 'beam'")
  common = (
    f"--samples={raw / 'log.csv'}",
    f"--images={raw / 'pictures'}",
    f"--schema={raw / 'schema.toml'}",
    "--backbone=squeezenet",
  )
  workers = "--direct_num_workers=2 --direct_running_mode=multi_processing"
  done = run(*common, f"--out={raw / 'local'}")
  assert done.returncode == 0, done.stderr
  done = run(
    *common,
    f"--out={raw / 'beam'}",
    "--runner=DirectRunner",
    f"--runner_options={workers}",
  )
  assert done.returncode == 0, done.stderr
  assert _contents(raw / "beam") == _contents(raw / "local")


def _contents(folder: pathlib.Path) -> dict[str, bytes]:
  return {
    p.relative_to(folder).as_posix(): p.read_bytes()
    for p in folder.rglob("*")
    if p.is_file()
  }


def test_damage_is_found_when_the_command_is_given_again(raw):
  prepare.prepare(options(raw))
  prepare.prepare(options(raw))  # Sound: nothing to do.
  (shard,) = (raw / "out" / "train").iterdir()
  data = bytearray(shard.read_bytes())
  data[len(data) // 2] ^= 1
  shard.write_bytes(data)
  with pytest.raises(errors.InputError, match=r"part-00000.*SHA-256"):
    prepare.prepare(options(raw))


def test_a_damaged_log_is_named(raw):
  (raw / "log.parquet").write_bytes(b"PAR1" + bytes(100))
  with pytest.raises(errors.InputError, match=r"log\.parquet: cannot be read"):
    prepare.prepare(options(raw, samples=raw / "log.parquet"))


def test_a_damaged_folder_of_a_preparation_is_named(raw):
  (raw / "out" / ".work").mkdir(parents=True)
  (raw / "out" / ".work" / "job.json").write_text("[")
  with pytest.raises(errors.InputError, match=r"job\.json: cannot be read"):
    prepare.prepare(options(raw))
