"""Numbers that training cannot use are found when a data set is read."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dicm_jax import content_kinds, errors
from dicm_jax.data import feature_files, prepared
from tests import toy
from tests.data import logs

PART = "part-00000.parquet"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
  """A prepared data set; not to be changed."""
  return logs.prepare(
    logs.job(tmp_path_factory.mktemp("sound"), logs.rows(events=200))
  )


@pytest.fixture
def out(sound, tmp_path):
  """A copy of it."""
  return shutil.copytree(sound, tmp_path / "out")


def rewrite(out, name: str, change) -> None:
  """Changes a file's table, and the size that the manifest names."""
  path = out / name
  pq.write_table(change(pq.read_table(path)), path)
  manifest = json.loads((out / "manifest.json").read_text())
  if name in manifest["files"]:
    manifest["files"][name]["bytes"] = path.stat().st_size
    (out / "manifest.json").write_text(json.dumps(manifest))


def with_value(table: pa.Table, column: str, row: int, value) -> pa.Table:
  """The table with another first number in a row that has some."""
  rows = table[column].to_pylist()
  part = rows[row]
  while isinstance(part[0], list):
    part = next(inner for inner in part if inner)
  part[0] = value
  kind = table.schema.field(column).type
  at = table.column_names.index(column)
  return table.set_column(at, column, pa.array(rows, kind))


def message_of(out) -> str:
  with pytest.raises(errors.InputError) as caught:
    prepared.load(out)
  return str(caught.value)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(
  ("column", "value", "expected"),
  [
    ("label", 2.0, "0 or 1, found 2.0"),
    ("label", np.nan, "0 or 1, found nan"),
    ("label", None, "0 or 1, found null"),
    ("price", np.inf, "a finite number, or nan where it is missing, found inf"),
    ("likes.weight", np.nan, "a finite number, found nan"),
    ("user_id", -1, "a row from 0 to {user_id}, found -1"),
    ("likes", 10**6, "a row from 0 to {likes}, found 1000000"),
    ("history_ad_id", 10**6, "a row from 0 to {ad_id}, found 1000000"),
    ("ad_id", 10**6, "a row from 0 to {ad_id}, found 1000000"),
    ("place", -5, "a row from 0 to {place}, found -5"),
    ("tags", -(2**31), "a row from 0 to {tags}, found -2147483648"),
    ("picture", 10**6, "a row from 0 to {picture}, found 1000000"),
    ("history_picture", -1, "a row from 0 to {picture}, found -1"),
  ],
)
def test_a_wrong_number_is_named_by_file_row_and_column(
  out, split, column, value, expected
):
  manifest = prepared.read_manifest(out)
  most = {name: rows - 1 for name, rows in manifest["rows"].items()}
  most["picture"] = manifest["images"] - 1
  name = f"{split}/{PART}"
  lists = pq.read_table(out / name)[column].to_pylist()
  row = max(i for i, part in enumerate(lists) if str(part).strip("[, ]"))
  rewrite(out, name, lambda table: with_value(table, column, row, value))
  assert message_of(out) == (
    f"{out / name}: row {row}, column {column!r}: expected "
    + expected.format(**most)
  )


def test_a_missing_dense_number_is_not_wrong(out):
  name = f"train/{PART}"
  rewrite(out, name, lambda table: with_value(table, "price", 0, np.nan))
  data = prepared.load(out)
  assert data.train.ad_dense[0, 0] == 0  # The mean.
  assert data.ad_dense_names == ("price",) and not data.user_dense_names


def test_a_column_that_is_not_there_is_named(out):
  rewrite(out, f"test/{PART}", lambda table: table.drop_columns(["place"]))
  assert f"test/{PART}: " in message_of(out)
  assert '"place"' in message_of(out)


def test_a_column_of_another_type_is_named(out):
  def change(table):
    texts = [[str(n) for n in part] for part in table["place"].to_pylist()]
    at = table.column_names.index("place")
    return table.set_column(at, "place", pa.array(texts))

  rewrite(out, f"test/{PART}", change)
  assert "column 'place': expected list<" in message_of(out)


def test_columns_of_different_length_are_named(out):
  def change(table):
    rows = table["ad_id"].to_pylist()
    rows[0].append(1)
    at = table.column_names.index("ad_id")
    kind = table.schema.field("ad_id").type
    return table.set_column(at, "ad_id", pa.array(rows, kind))

  rewrite(out, f"train/{PART}", change)
  assert "column 'ad_id': expected " in message_of(out)


def test_a_scale_that_leads_out_of_bounds_is_named(out):
  path = out / "manifest.json"
  manifest = json.loads(path.read_text())
  manifest["dense"]["price"]["deviation"] = [1e-40]
  path.write_text(json.dumps(manifest))
  assert "feature 'price': expected numbers that float32" in message_of(out)


def with_features(out, dtype: str) -> feature_files.Encoder:
  """Brings vectors of two numbers for each image; returns what made them."""
  keys = feature_files.image_keys(out)
  name = feature_files.PRECOMPUTED
  encoder = feature_files.Encoder(
    name=name, digest=name, width=2, dtype=dtype, notice=""
  )
  vectors = np.random.default_rng(0).normal(size=(len(keys), 2))
  feature_files.write_part(out, encoder, 0, keys, vectors.astype(np.float32))
  feature_files.finish(out, encoder)
  return encoder


def laid_out(data, tier: str):
  return content_kinds.Precomputed().lay_out(data, toy.values().model, tier)


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_features_that_were_changed_are_named(out, dtype, mapped):
  encoder = with_features(out, dtype)
  name = f"features/{encoder.folder}/{PART}"
  assert feature_files.held(out, encoder.digest, False)

  def change(table):
    column = "scale" if dtype == "int8" else "features"
    values = table[column].to_pylist()
    if dtype == "int8":
      values[3] = np.inf
    else:
      values[3][1] = np.nan
    at = table.column_names.index(column)
    kind = table.schema.field(column).type
    return table.set_column(at, column, pa.array(values, kind))

  rewrite(out, name, change)
  with pytest.raises(errors.InputError) as caught:
    feature_files.held(out, encoder.digest, mapped)
  place = "column 'scale'" if dtype == "int8" else "number 1"
  found = "inf" if dtype == "int8" else "nan"
  assert str(caught.value) == (
    f"{out / name}: row 3, {place}: expected a finite number, found {found}"
  )
  assert not (out / "features" / encoder.folder / "rows.npy").exists()


def test_features_of_another_width_are_named(out):
  encoder = with_features(out, "float32")

  def change(table):
    vectors = [part[:1] for part in table["features"].to_pylist()]
    at = table.column_names.index("features")
    kind = pa.list_(pa.float32(), 1)
    return table.set_column(at, "features", pa.array(vectors, kind))

  rewrite(out, f"features/{encoder.folder}/{PART}", change)
  with pytest.raises(
    errors.InputError, match="expected 2 float32 a row, as encoder"
  ):
    feature_files.held(out, encoder.digest, False)


def test_features_of_other_images_are_refused(out):
  encoder = with_features(out, "float32")
  name = f"features/{encoder.folder}/{PART}"
  rewrite(out, name, lambda table: table.slice(0, 3))
  with pytest.raises(errors.InputError, match="features of 20 images, found 3"):
    laid_out(prepared.load(out), "host")


def test_a_plain_file_that_was_changed_is_found_by_the_images_seen(out):
  encoder = with_features(out, "float32")
  data = prepared.load(out)
  assert data.held(encoder.digest, True)
  file = out / "features" / encoder.folder / "rows.npy"
  rows = np.load(file)
  row = int(data.train.ad_image[0])
  rows[row] = np.nan
  np.save(file, rows)
  with pytest.raises(errors.InputError) as caught:
    laid_out(data, "file")
  assert f"features of image {data.image_names[row]!r}" in str(caught.value)
