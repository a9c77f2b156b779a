"""New pictures for the explorer, by the encoder of the served bundle."""

from collections.abc import Sequence

from jaxtyping import Float
import numpy as np

from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import new_pictures, occlusion

CHUNK = 10
"""Pictures of a call of the encoder: a map asks for fifty."""


class Embedders:
  """The embedder of a bundle; None where the bundle has no encoder.

  Deltas make another bundle of the same digest, whose encoder is the same and
  is not loaded again.
  """

  def __init__(self):
    self._digest, self._embedder = "", None

  def __call__(self, bundle: bundle_lib.Bundle) -> occlusion.Embed | None:
    if bundle.digest != self._digest:
      has_encoder = not new_pictures.why_not(bundle)
      self._embedder = _Embedder(bundle) if has_encoder else None
      self._digest = bundle.digest
    return self._embedder


class _Embedder:
  """Loads the encoder with the first picture: it takes seconds, and JAX."""

  def __init__(self, bundle: bundle_lib.Bundle):
    self._bundle = bundle
    self._embed: new_pictures.NewPictures | None = None

  def __call__(self, pictures: Sequence[bytes]) -> Float[np.ndarray, "n E"]:
    if self._embed is None:
      self._embed = new_pictures.NewPictures(self._bundle, CHUNK)
    return self._embed(pictures, ["the picture"] * len(pictures))
