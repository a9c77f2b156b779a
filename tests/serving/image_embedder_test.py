"""A picture's features become the vector that the bundle has of it."""

import dataclasses

import numpy as np
import pytest

from dicm_jax import content, errors
from dicm_jax.serving import image_embedder
from tests import toy
from tests.serving import bundles


def features_of(**options):
  """Frozen features of the toy's pictures."""
  config = toy.values(**options)
  kind = content.kind(config)
  return kind.lay_out(toy.dataset(), config.model, "device").held.everything()


def assert_vectors(made, features) -> None:
  found = image_embedder.ImageEmbedder(made.bundle)(features)
  # Float32 products of other shapes.
  np.testing.assert_allclose(found, made.bundle.images, rtol=0, atol=1e-5)


def test_vectors_are_those_of_the_owners(made):
  assert_vectors(made, features_of())


@pytest.mark.slow
@pytest.mark.parametrize(
  "options",
  [
    {"model__image_nets": "separate", "model__activation": "dice"},
    {"model__frozen_width": 6, "model__output_activation": "relu"},
    {
      "model__name": "unified",
      "model__id_width": 1,
      "model__image_widths": (),
      "model__frozen_head": "stored",
      "model__frozen_width": 512,
    },
  ],
  ids=["separate", "whitened", "stored"],
)
def test_vectors_of_variant_are_those_of_the_owners(
  options, tmp_path, monkeypatch
):
  made = bundles.make(tmp_path, monkeypatch, **options)
  assert_vectors(made, features_of(**options))


def test_other_features_are_refused(made):
  embedder = image_embedder.ImageEmbedder(made.bundle)
  with pytest.raises(errors.InputError, match="features of 512 numbers, found"):
    embedder(np.zeros((2, 4096), np.float32))
  fields = dataclasses.replace(made.bundle.fields, image_rows=0)
  blind = dataclasses.replace(made.bundle, fields=fields)
  with pytest.raises(errors.InputError, match="found one of ids alone"):
    image_embedder.ImageEmbedder(blind)
