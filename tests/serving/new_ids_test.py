"""New ads' ids are the mean of those whose pictures are near."""

import dataclasses

import numpy as np
import pytest

from dicm_jax import errors, new_ids
from dicm_jax.serving import delta, neighbours, vocabulary
from tests import toy


@pytest.fixture
def bundle(made):
  """The toy's bundle, as if its ads had names; past clicks have the same."""
  names = vocabulary.Listed([f"ad{i}" for i in range(toy.NUM_IMAGES)])
  known = {**made.bundle.vocabularies, "ad_id": names, "liked": names}
  return dataclasses.replace(made.bundle, vocabularies=known)


def rows_of(bundle, name):
  """Vectors of a feature."""
  end = 0
  for field in bundle.fields.ids:
    begin, end = end, end + field.rows
    if field.name == name:
      return bundle.ids[begin:end]
  raise AssertionError(name)


def test_new_id_begins_as_the_mean_of_its_neighbours(bundle):
  # An ad of the toy has the row after its picture's.
  changes = new_ids.of_neighbours(bundle, "ad_id", {"new": "5.png"})
  assert set(changes) == {"ad_id", "liked"}
  grown = delta.applied(bundle, delta.Tables(None, changes))
  for name, change in changes.items():
    ids = rows_of(bundle, name)[1:]
    (expected,) = neighbours.id_vectors(bundle.images[[5]], bundle.images, ids)
    np.testing.assert_allclose(change.vectors[0], expected, rtol=1e-5)
    np.testing.assert_array_equal(rows_of(grown, name)[:-1][1:], ids)
    np.testing.assert_array_equal(rows_of(grown, name)[-1], change.vectors[0])
  assert grown.vocabularies["ad_id"].row("new") == toy.NUM_IMAGES + 1
  assert delta.contents(grown) != delta.contents(bundle)
  for name in ("user_id", "position", "tags"):
    np.testing.assert_array_equal(rows_of(grown, name), rows_of(bundle, name))


def test_known_ids_stay_as_they_are(bundle):
  assert new_ids.of_neighbours(bundle, "ad_id", {"ad3": "5.png"}) == {}


def test_near_pictures_weigh_more():
  known = np.array([[1.0, 0.1], [0.1, 1.0], [-1.0, -1.0]], np.float32)
  ids = np.array([[1.0], [0.0], [50.0]], np.float32)
  near = neighbours.id_vectors(known[:2], known, ids, 2)
  assert 0.5 < near[0, 0] < 1 and 0 < near[1, 0] < 0.5


@pytest.mark.parametrize(
  ("name", "images", "reason"),
  [
    ("position", {"a": "5.png"}, "expected a feature of ads with a learned"),
    ("colour", {"a": "5.png"}, "'colour': expected a feature"),
    ("ad_id", {"a": "nobody.png"}, "image 'nobody.png' is neither in"),
    ("liked", {"a": "5.png"}, "expected a column 'image'"),
  ],
)
def test_what_cannot_grow_is_told(bundle, name, images, reason):
  with pytest.raises(errors.InputError, match=reason):
    new_ids.of_neighbours(bundle, name, images)


@pytest.mark.parametrize(
  ("text", "reason"),
  [
    ("ad_id\n1\n", "expected the columns 'image' and a feature"),
    ("ad_id,image\n1,a\n1,b\n", "expected distinct ids"),
    ("ad_id,image\n1,\n", "expected distinct ids, each with an image"),
    ("", "cannot be read"),
  ],
)
def test_wrong_table_is_refused_with_what_is_wrong(tmp_path, text, reason):
  (tmp_path / "ads.csv").write_text(text)
  with pytest.raises(errors.InputError, match=reason):
    new_ids.read(tmp_path / "ads.csv")


def test_table_gives_the_feature_and_the_pairs(tmp_path):
  (tmp_path / "ads.csv").write_text("image,ad_id\np1,17\np2,x\n")
  found = new_ids.read(tmp_path / "ads.csv")
  assert found == ("ad_id", {"17": "p1", "x": "p2"})
