"""The frozen encoder of a bundle at work, by JAX."""

from jaxtyping import Float, UInt8
import numpy as np

from dicm_jax.serving import artifact
from dicm_jax.serving import bundle as bundle_lib


class PictureEncoder:
  """Makes frozen features of pixels.

  Args:
    bundle: one that holds an encoder.
    chunk: pictures of a call: fewer are padded, so that nothing is compiled
      later.

  Raises:
    InputError: the artifact is damaged or of another version of JAX.
  """

  def __init__(self, bundle: bundle_lib.Bundle, chunk: int):
    self._chunk, self._call = chunk, artifact.read(bundle, bundle_lib.ENCODER)
    size = bundle.manifest["encoder"]["pictures"]["size"]
    self(np.zeros((1, size, size, 3), np.uint8))

  def __call__(
    self, pixels: UInt8[np.ndarray, "K H W 3"]
  ) -> Float[np.ndarray, "K F"]:
    parts = []
    for first in range(0, len(pixels), self._chunk):
      part = pixels[first : first + self._chunk]
      short = self._chunk - len(part)
      padded = np.pad(part, ((0, short), (0, 0), (0, 0), (0, 0)))
      parts.append(np.asarray(self._call(padded))[: len(part)])
    return np.concatenate(parts)
