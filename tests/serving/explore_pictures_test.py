"""The bundle's own encoder embeds what the explorer is given."""

import dataclasses

import numpy as np

from dicm_jax.serving import explore_pictures
from tests import toy


def test_known_pictures_get_the_vectors_of_the_bundle(made):
  embedders = explore_pictures.Embedders()
  embed = embedders(made.bundle)
  found = embed(toy.dataset().image_bytes[:11])
  # Float32 sums in another order.
  np.testing.assert_allclose(found, made.bundle.images[:11], atol=1e-4)
  # After a delta the digest is the same.
  assert embedders(dataclasses.replace(made.bundle)) is embed
  manifest = made.bundle.manifest
  manifest = manifest | {"encoder": manifest["encoder"] | {"pictures": None}}
  blind = dataclasses.replace(made.bundle, manifest=manifest, digest="1")
  assert embedders(blind) is None
