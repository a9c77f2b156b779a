"""A prepared data set from somebody else: each lie is named with its file."""

import functools
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dicm_jax import errors
from dicm_jax.data import feature_files, image_store, prepared
from tests.data import logs


@functools.cache
def _made(place) -> None:
  out = logs.prepare(logs.job(place, logs.rows(users=4, events=60), files=1))
  keys = feature_files.image_keys(out)
  encoder = feature_files.Encoder(
    name="net", digest="0" * 64, width=2, dtype="float32", notice=""
  )
  numbers = np.ones((len(keys), 2), np.float32)
  feature_files.write_part(out, encoder, 0, keys, numbers)
  feature_files.finish(out, encoder)


@pytest.fixture
def out(tmp_path):
  _made(tmp_path)
  return tmp_path / "out"


def said(out, change) -> None:
  """Changes the manifest."""
  file = out / "manifest.json"
  values = json.loads(file.read_text())
  change(values)
  file.write_text(json.dumps(values))


def replaced(out, name: str, column: str, change) -> None:
  """Changes a column of a file, and what the manifest says of its size."""
  path = out / name
  found = pq.read_table(path)
  place = found.column_names.index(column)
  made = change(found[column].combine_chunks())
  pq.write_table(found.set_column(place, column, made), path)
  size = path.stat().st_size

  def resize(values):
    if name in values["files"]:
      values["files"][name]["bytes"] = size

  said(out, resize)


def flat(column: pa.Array, change) -> pa.Array:
  """The same lists with other values."""
  if pa.types.is_list(column.type):
    return pa.ListArray.from_arrays(column.offsets, flat(column.values, change))
  return change(column)


SHARD = "train/part-00000.parquet"


@pytest.mark.parametrize(
  ("column", "change", "message"),
  [
    ("ad_id", lambda c: pa.array([10**6] * len(c), c.type), "a row from 0 to"),
    (
      "user_id",
      lambda c: pa.array([-1] * len(c), c.type),
      "a row from 0 to .* -1",
    ),
    (
      "tags",
      lambda c: pa.array([99] * len(c), c.type),
      "a row from 0 to .* 99",
    ),
    ("picture", lambda c: pa.array([21] * len(c), c.type), "a row from 0 to"),
    ("ad_id", lambda c: c.cast(pa.int64()), "expected list<.*int32"),
    ("label", lambda c: pa.array([2.0] * len(c), c.type), "expected 0 or 1"),
    ("place", lambda c: pa.array([None] * len(c), c.type), "found null"),
    ("likes.weight", lambda c: pa.array([np.nan] * len(c), c.type), "finite"),
  ],
)
def test_a_value_out_of_range_is_named(out, column, change, message):
  replaced(out, SHARD, column, lambda c: flat(c, change))
  with pytest.raises(errors.InputError, match=rf"train.*'{column}'.*{message}"):
    prepared.load(out)


def test_a_user_that_is_missing_is_named(out):
  replaced(out, SHARD, "user", lambda c: pa.nulls(len(c), c.type))
  with pytest.raises(errors.InputError, match="'user': expected no value"):
    prepared.load(out)


def test_a_sample_too_few_is_named(out):
  def shorter(column):
    values = column.to_pylist()
    return pa.array([values[0][:-1], *values[1:]], column.type)

  replaced(out, SHARD, "price", shorter)
  with pytest.raises(errors.InputError, match=r"'price': expected \d+ values"):
    prepared.load(out)


def test_a_damaged_page_is_named(out):
  path = out / SHARD
  data = bytearray(path.read_bytes())
  data[4 : len(data) // 2] = bytes(len(data) // 2 - 4)
  path.write_bytes(data)
  with pytest.raises(errors.InputError, match=rf"{SHARD}: cannot be read"):
    prepared.load(out)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a\0b"])
def test_a_manifest_that_names_files_elsewhere_is_refused(out, name):
  entry = {"bytes": 1, "sha256": "0" * 64}
  said(out, lambda values: values["files"].update({name: entry}))
  with pytest.raises(
    errors.InputError, match="expected names within the folde"
  ):
    prepared.load(out)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda m: m.pop("rows"), "rows: expected an entry of type dict"),
    (lambda m: m["rows"].pop("ad_id"), "ad_id: expected a number of rows"),
    (lambda m: m["rows"].update(ad_id=2**31), "ad_id: expected a number of ro"),
    (lambda m: m["dense"].pop("price"), "price: expected mean and deviation"),
    (lambda m: m["dense"]["price"].update(mean=[1, 2]), "price: expected mean"),
    (lambda m: m["dense"]["price"].update(deviation=[0]), "price: expected me"),
    (lambda m: m.update(schema={"log": 1}), r"manifest\.json: section \[split"),
    (lambda m: m["files"].update(x=3), "x: expected bytes and sha256"),
  ],
)
def test_a_manifest_that_lacks_something_is_named(out, change, message):
  said(out, change)
  with pytest.raises(errors.InputError, match=message):
    prepared.load(out)


@pytest.mark.parametrize("text", ["[]", "[" * 5000, "9" * 5000, "\xff"])
def test_a_manifest_that_is_none_is_named(out, text):
  (out / "manifest.json").write_text(text, encoding="latin-1")
  with pytest.raises(errors.InputError, match=r"manifest\.json: "):
    prepared.load(out)


FEATURES = "features/net-00000000/part-00000.parquet"


@pytest.mark.parametrize("mapped", [False, True])
def test_features_that_are_others_than_said_are_named(out, mapped):
  data = prepared.load(out)
  meta = (out / FEATURES).with_name("encoder.json")
  values = json.loads(meta.read_text())
  for change, message in (
    ({"width": 10**6}, "expected 1000000 float32 a row"),
    ({"width": 10**12}, "width: expected 1 to"),
    ({"dtype": "int8"}, "int8 a row|scale"),
    ({"dtype": "O"}, "unknown dtype"),
    ({"width": "2"}, "width"),
    ({"name": "../../x"}, r"lie in 'net-00000000', found '\.\./\.\./x-0000"),
  ):
    meta.write_text(json.dumps(values | change))
    with pytest.raises(errors.InputError, match=message):
      data.held("0" * 64, mapped)
  meta.write_text(json.dumps(values))
  (out / FEATURES).with_name("part-00001.parquet").write_bytes(
    (out / FEATURES).read_bytes()
  )
  with pytest.raises(errors.InputError, match=r"features of \d+ images, found"):
    data.held("0" * 64, mapped)
  assert {p.name for p in out.iterdir()} <= {
    *("train", "test", "vocab", "images", "features", "manifest.json")
  }


def test_pictures_that_are_others_than_said_are_named(out):
  (part,) = (out / "images").iterdir()
  name = f"images/{part.name}"
  replaced(out, name, "bytes", lambda c: pa.array(["x"] * len(c)))
  store = image_store.ImageStore(out / "images")
  with pytest.raises(errors.InputError, match=r"'bytes': expected .* pict"):
    store[1]
  part.rename(part.with_name("part-x.parquet"))
  with pytest.raises(
    errors.InputError, match=r"part-x\.parquet|expected \d+ b"
  ):
    prepared.load(out)
