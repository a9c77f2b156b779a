"""A bundle alone embeds pictures as the run embedded its own."""

import dataclasses

import numpy as np
import pytest

from dicm_jax import errors
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import new_pictures
from tests import toy
from tests.serving import bundles


def assert_embeds(made, count: int) -> None:
  data = toy.dataset()
  embed = new_pictures.NewPictures(made.bundle, 4)
  found = embed(data.image_bytes[:count], data.image_names[:count])
  # Float32 sums in another order.
  expected = made.bundle.images[:count]
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_pictures_get_the_vectors_that_the_run_gave_them(made):
  assert_embeds(made, 6)


@pytest.mark.slow
@pytest.mark.parametrize(
  "options", [{"image__mode": "pixels"}, {"image__dtype": "bfloat16"}]
)
def test_vectors_of_variant_are_those_of_the_run(
  options, tmp_path, monkeypatch
):
  assert_embeds(bundles.make(tmp_path, monkeypatch, **options), 40)


def test_manifest_says_how_pictures_are_prepared(made):
  said = made.bundle.manifest["encoder"]["pictures"]
  assert said["file"] == bundle_lib.ENCODER in made.bundle.manifest["files"]
  assert said["size"] == 227


@pytest.mark.slow
def test_titles_take_no_pictures_and_say_why(tmp_path, monkeypatch):
  options = {"image__mode": "titles", "image__backbone": "text_cnn"}
  options["model__aggregator"] = "sum"
  made = bundles.make(tmp_path, monkeypatch, **options)
  assert not (made.bundle.folder / bundle_lib.ENCODER).exists()
  with pytest.raises(errors.InputError, match="it reads titles"):
    new_pictures.NewPictures(made.bundle, 4)


def test_damaged_picture_is_refused_by_name(made):
  embed = new_pictures.NewPictures(made.bundle, 4)
  with pytest.raises(errors.InputError, match=r"^9: damaged or cut short"):
    embed([toy.dataset().image_bytes[0][:50]], ["9"])


def test_older_bundle_says_what_it_lacks(made):
  encoder = {**made.bundle.manifest["encoder"]}
  del encoder["pictures"]
  manifest = made.bundle.manifest | {"encoder": encoder}
  older = dataclasses.replace(made.bundle, manifest=manifest)
  assert "export the run again" in new_pictures.why_not(older)
