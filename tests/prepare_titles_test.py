"""Titles of a prepared data set, beside pictures or vectors, or alone."""

import pathlib

import numpy as np
import pyarrow.parquet as pq
import pytest

from dicm_jax import errors, prepare
from dicm_jax.data import feature_files, prepared
from tests import toy
from tests.data import logs
from tests.data.readers import infer_test
from tests.prepare_test import TOML

KEYS = [str(i) for i in range(11)]


def title(key: str) -> str:
  return f"Dress no. {key}"


@pytest.fixture
def raw(tmp_path):
  """A log with pictures, vectors, and titles of all items but two."""
  infer_test.write(tmp_path / "log.csv", infer_test.rows())
  (tmp_path / "schema.toml").write_text(TOML)
  (tmp_path / "pictures").mkdir()
  for i, key in enumerate(KEYS):
    (tmp_path / "pictures" / f"{key}.png").write_bytes(logs.png(i))
  vectors = np.random.default_rng(0).random((11, 4), np.float32)
  np.save(tmp_path / "vectors.npy", vectors)
  lines = [f"{key},{title(key)}" for key in reversed(KEYS) if key != "3"]
  lines = ["key,title", *lines, "unasked,of no ad"]
  lines[-2] = "0,"
  (tmp_path / "titles.csv").write_text("\n".join(lines) + "\n")
  return tmp_path


def options(raw: pathlib.Path, **given: str) -> prepare.Options:
  paths = {key: raw / name for key, name in given.items()}
  return prepare.Options(
    format="table",
    samples=raw / "log.csv",
    schema=raw / "schema.toml",
    titles=raw / "titles.csv",
    **({"out": raw / "out"} | paths),
  )


GIVEN = {
  "images": {"images": "pictures"},
  "vectors": {"vectors": "vectors.npy"},
  "titles": {},
}


@pytest.mark.parametrize("kind", GIVEN)
def test_each_image_row_has_the_title_of_its_key(raw, kind):
  manifest = prepare.prepare(options(raw, **GIVEN[kind]))
  data = prepared.load(raw / "out")
  assert data.image_names[0] == data.titles[0] == ""
  assert set(data.image_names[1:]) == set(KEYS)
  without = {"0", "3"}
  expected = ["" if k in without else title(k) for k in data.image_names[1:]]
  assert list(data.titles[1:]) == expected
  assert manifest["titles"] == {"given": 9, "missing": 2}
  assert manifest["images"] == 12
  assert "sha256" in manifest["files"]["titles.parquet"]
  stored = pq.read_table(raw / "out" / "titles.parquet").to_pydict()
  assert stored == {
    "key": list(data.image_names),
    "title": list(data.titles),
  }


def test_titles_alone_make_the_rows_that_samples_name(raw):
  """As pictures do, but in the order of the keys."""
  prepare.prepare(options(raw, images="pictures"))
  prepare.prepare(options(raw, out="alone"))
  pictures, alone = (prepared.load(raw / name) for name in ("out", "alone"))
  assert list(alone.image_names) == ["", *sorted(KEYS)]
  assert feature_files.image_keys(raw / "alone") == list(alone.image_names)
  assert len(alone.image_bytes) == 0
  for one, other in zip(
    (pictures.train, pictures.test), (alone.train, alone.test), strict=True
  ):
    for rows, others in (
      (one.ad_image, other.ad_image),
      (one.behaviour_images.values, other.behaviour_images.values),
    ):
      names = np.array(pictures.image_names)[rows]
      np.testing.assert_array_equal(names, np.array(alone.image_names)[others])


@pytest.mark.parametrize("kind", GIVEN)
def test_a_log_with_titles_trains(raw, kind):
  prepare.prepare(options(raw, **GIVEN[kind]))
  x = toy.build(
    1,
    2,
    data=prepared.load(raw / "out"),
    train__batch_size=16,
    image__mode="titles",
    image__backbone="text_cnn",
  )
  assert np.isfinite(toy.run(x, 3)[1]).all()


def test_titles_are_an_input_and_decide_the_result(raw):
  given = options(raw, images="pictures")
  first = prepare.prepare(given)
  assert prepare.prepare(given) == first
  digest = prepared.load(raw / "out").digest
  text = (raw / "titles.csv").read_text()
  (raw / "titles.csv").write_text(text.replace("no. 5", "no. 6"))
  with pytest.raises(errors.InputError, match="an input was changed since"):
    prepare.prepare(given)
  prepare.prepare(options(raw, images="pictures", out="again"))
  assert prepared.load(raw / "again").digest != digest


def test_without_titles_nothing_changes(raw):
  given = options(raw, images="pictures")
  plain = prepare.Options(**(vars(given) | {"titles": None}))
  manifest = prepare.prepare(plain)
  assert "titles" not in manifest
  assert prepared.load(raw / "out").titles is None


def test_wrong_titles_are_named_and_nothing_is_written(raw):
  path = raw / "titles.csv"
  path.write_text(path.read_text() + "5,again\n")
  with pytest.raises(errors.InputError) as caught:
    prepare.prepare(options(raw, images="pictures"))
  assert f"{path}, line 13: key '5': occurs twice" in str(caught.value)
  assert not (raw / "out").exists()


def test_titles_of_a_log_without_pictures_are_refused(raw):
  """There are no rows that they could be of."""
  schema = raw / "schema.toml"
  schema.write_text(TOML[: TOML.rindex("[[feature]]")])
  with pytest.raises(errors.InputError) as caught:
    prepare.prepare(options(raw))
  assert str(caught.value) == (
    "--titles: the schema names no pictures; expected a feature of kind image "
    "or images"
  )


def test_skipped_lines_stand_in_the_manifest(raw):
  path = raw / "titles.csv"
  path.write_text(path.read_text() + "5,again\n")
  given = vars(options(raw, images="pictures")) | {"on_bad": "skip"}
  manifest = prepare.prepare(prepare.Options(**given))
  assert manifest["bad"]["count"] == 1
  assert manifest["bad"]["first"][0]["line"] == 13
