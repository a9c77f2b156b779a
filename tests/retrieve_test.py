"""The command finds, draws, measures and writes; or says no in one line."""

import json
import os
import pathlib
import subprocess
import sys

from absl import flags
import jax
import numpy as np
from PIL import Image
import pytest

from dicm_jax import contact_sheet, errors, retrieval, retrieve, shop
from dicm_jax.data import feature_files, prepared, sample, vectors
from dicm_jax.sharding import mesh as mesh_lib
from tests.data import logs


def run(*args) -> None:
  values = flags.FlagValues()
  retrieve.define_flags(values)
  values(["retrieve", *map(str, args)])
  retrieve.run(values)


def table_of(out: str) -> list[list[str]]:
  """Rows of rank, score and key."""
  title, header, *lines = out.splitlines()
  assert title.startswith("like ")
  assert header.split() == ["rank", "score", "key"]
  return [line.split() for line in lines]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> pathlib.Path:
  """A prepared data set whose features are numbers of its pictures' keys."""
  folder = tmp_path_factory.mktemp("data")
  out = logs.prepare(logs.job(folder, logs.rows()))
  keys = feature_files.image_keys(out)
  encoder = feature_files.Encoder(
    name="net", digest="1a2b3c4d5e", width=4, dtype="float32", notice=""
  )
  rng = np.random.default_rng(0)
  rows = rng.normal(size=(len(keys), 4)).astype(np.float32)
  feature_files.write_part(out, encoder, 0, keys, rows)
  feature_files.finish(out, encoder)
  return out


@pytest.fixture
def few_devices(monkeypatch):
  """Two simulated devices: meshes of eight are tested elsewhere."""
  make, devices = mesh_lib.make_mesh, jax.devices()[:2]
  monkeypatch.setattr(
    mesh_lib, "make_mesh", lambda w, s: make(w, s, devices=devices)
  )


@pytest.mark.parametrize("index", ["", "usearch", "faiss"])
def test_item_of_a_prepared_data_set(data, few_devices, capsys, index):
  run(f"--data={data}", "--item=p3", "--k=4", f"--index={index}")
  found = table_of(capsys.readouterr().out)
  items = shop.load("", str(data)).items
  unit = items.values / np.linalg.norm(items.values, axis=1, keepdims=True)
  scores = unit @ unit[items.keys.index("p3")]
  order = np.argsort(-scores)[1:5]
  assert [row[2] for row in found] == [items.keys[i] for i in order]
  assert [row[:2] for row in found] == [
    [f"{rank}", f"{scores[i]:.4f}"] for rank, i in enumerate(order, 1)
  ]


def test_past_of_a_user_is_all_that_was_clicked(data):
  of = shop.load("", str(data))
  events = [e for e in logs.rows() if e["user"] == "u3" and e["label"]]
  last = max(e["time"] for e in logs.rows() if e["user"] == "u3")
  events.sort(key=lambda e: e["time"])
  before = [e["picture"] for e in events if e["time"] < last]
  now = [e["picture"] for e in events if e["time"] == last]
  rows = shop.past_of(of, "u3")
  # Four at most of the past, and what was clicked on the last page view.
  wanted = [key for key in before[-4:] + now if key]
  assert len(wanted) >= 3
  found = [of.items.keys[row] for row in rows]
  assert sorted(found) == sorted(wanted)


def test_users_are_numbered_as_the_log_numbers_them(data):
  for split in ("train", "test"):
    keys = prepared.user_keys(data, split)
    assert keys == sorted(keys) and len(keys) == len(set(keys))
    log = getattr(prepared.load(data), split)
    assert len(keys) == len(np.unique(log.user)) == log.user.max() + 1


def test_user_gets_a_sheet_without_what_was_seen(
  data, few_devices, capsys, tmp_path
):
  sheet = tmp_path / "sheet.png"
  run(
    f"--data={data}", "--user=u3", "--k=5", "--exclude_seen", f"--sheet={sheet}"
  )
  found = [row[2] for row in table_of(capsys.readouterr().out)]
  of = shop.load("", str(data))
  past = [of.items.keys[row] for row in shop.past_of(of, "u3")]
  assert len(found) == 5
  assert not set(found) & set(past)
  sections = [
    contact_sheet.Section("", [contact_sheet.Tile(None, k) for k in keys])
    for keys in (past[::-1], found)
  ]
  side = contact_sheet.SIDE // 2
  with Image.open(sheet) as drawn:
    for section, corners in zip(
      sections, contact_sheet.corners(sections), strict=True
    ):
      for tile, (left, top) in zip(section.tiles, corners, strict=True):
        picture = shop.picture_of(of, tile.key)
        plain = contact_sheet.picture(contact_sheet.Tile(picture, ""))
        here = drawn.getpixel((left + side, top + side))
        assert here == plain.getpixel((side, side))


def test_query_vectors_and_the_folder_of_an_index(
  data, few_devices, capsys, tmp_path
):
  of = shop.load("", str(data)).items
  queries = tmp_path / "queries.parquet"
  vectors.write(
    queries, vectors.Vectors(keys=("a", "b"), values=of.values[[2, 5]])
  )
  out = tmp_path / "index"
  run(f"--data={data}", "--index=usearch", f"--out={out}")
  assert capsys.readouterr().out == ""
  run(f"--vectors={out / 'items.parquet'}", f"--queries={queries}", "--k=1")
  tables = capsys.readouterr().out.strip().split("\n\n")
  best = [table_of(text)[0] for text in tables]
  assert best == [
    ["1", "1.0000", of.keys[2]],
    ["1", "1.0000", of.keys[5]],
  ]


def test_evaluation_is_a_table_and_json(data, few_devices, capsys):
  run(f"--data={data}", "--evaluate", "--k=3")
  out = capsys.readouterr().out
  text, brace, rest = out.partition("{")
  found = json.loads(brace + rest)
  assert found["k"] == 3
  assert set(found["methods"]) == {"vectors", "popularity", "random"}
  for name, of in found["methods"].items():
    (line,) = (row for row in text.splitlines() if row.startswith(name))
    assert f"{of['recall']:.4f}" in line
    assert f"[{of['hit_rate_low']:.4f}, {of['hit_rate_high']:.4f}]" in line


@pytest.mark.parametrize(
  ("args", "message"),
  [
    ([], "expected one of --item, .*; found none"),
    (["--item=p3", "--evaluate"], "found --item and --evaluate"),
    (["--item=p3", "--out=x"], "--out: expected --index too"),
    (["--evaluate", "--sheet=x"], "--sheet: expected --item or --user or --q"),
    (["--item=p3", "--exclude_seen"], "--exclude_seen: expected --user or"),
    (["--item=p3", "--similarity=l2"], "unknown similarity 'l2'"),
    (["--item=p3", "--index=annoy"], "unknown --index 'annoy'"),
    (["--item=3"], "keys of the items .* found '3'; did you mean 'p13' or"),
    (["--user=3"], "keys of the users .* found '3'; did you mean 'u3'"),
    (["--item=p3", "--k=99"], "k: expected 1 to 19, .*; found 99"),
  ],
)
def test_mistakes_are_named(data, few_devices, args, message):
  with pytest.raises(errors.InputError, match=message):
    run(f"--data={data}", *args)


def test_vectors_alone_have_no_users_and_no_pictures(data, few_devices):
  folder = next((data / feature_files.FOLDER).iterdir())
  for flag in ("--user=u3", "--evaluate"):
    with pytest.raises(errors.InputError, match=r"expected --data too"):
      run(f"--vectors={folder}", flag)
  with pytest.raises(errors.InputError, match="--sheet: expected --data too"):
    run(f"--vectors={folder}", "--item=p3", "--sheet=x.png")


def test_data_without_features_asks_for_them(tmp_path):
  out = logs.prepare(logs.job(tmp_path, logs.rows()))
  with pytest.raises(errors.InputError, match=r"one encoder in .*, found none"):
    run(f"--data={out}", "--item=p3")


def test_command_says_no_in_one_line(tmp_path):
  done = subprocess.run(
    [
      sys.executable,
      "-m",
      "dicm_jax.retrieve",
      f"--vectors={tmp_path / 'none.parquet'}",
      "--item=a",
    ],
    capture_output=True,
    text=True,
    check=False,
    env=os.environ,
    timeout=300,
  )
  assert (done.returncode, done.stdout) == (2, "")
  assert done.stderr == (
    f"dicm_jax: {tmp_path / 'none.parquet'}: there is no such file\n"
  )


@pytest.mark.slow
def test_neighbours_in_the_sample_are_of_the_same_kind(few_devices):
  catalogue = sample.load_catalogue()
  items = shop.sample_vectors(catalogue)
  exact = retrieval.exact(items, mesh_lib.make_mesh(1, -1))
  found = retrieval.like_items(exact, np.arange(len(items.keys)), 10)
  kind = catalogue.category
  same = kind[found.rows] == kind[:, None]
  # .53 of them; by chance .10, the sum of the categories' squared shares.
  assert same.mean() > 0.5
