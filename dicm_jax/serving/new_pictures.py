"""Pictures that the model has never seen become the vectors of a bundle.

Decoded and squeezed as the pictures of training were, encoded by the bundle's
own encoder, and taken through the owners' layers by NumPy.
"""

from collections.abc import Sequence

from jaxtyping import Float
import numpy as np

from dicm_jax import errors
from dicm_jax.data import images
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import image_embedder


def why_not(bundle: bundle_lib.Bundle) -> str:
  """Why a bundle takes no new pictures; "": it does."""
  if not bundle.fields.image_rows:
    return "the model sees no pictures"
  said = bundle.manifest["encoder"].get("pictures")
  if said is None:
    return "the bundle holds no encoder; export the run again"
  return said.get("absent", "")


class NewPictures:
  """Embeds pictures by a bundle alone. Brings JAX along, and takes seconds.

  Args:
    bundle: one for which `why_not` is empty.
    chunk: pictures of a call of the encoder.

  Raises:
    InputError: `why_not` is not, the decoding has changed, or a file is
      damaged.
  """

  def __init__(self, bundle: bundle_lib.Bundle, chunk: int):
    from dicm_jax.serving import picture_encoder  # Brings JAX along.

    reason = why_not(bundle)
    if reason:
      raise errors.InputError(f"{bundle.folder}: no new pictures: {reason}")
    said = bundle.manifest["encoder"]["pictures"]
    if said["decoding"] != images.VERSION:
      raise errors.InputError(
        f"{bundle.folder}: expected pictures to be decoded by version "
        f"{said['decoding']}, found {images.VERSION}; export the run again"
      )
    self._bundle, self._size = bundle, said["size"]
    self._embed = image_embedder.ImageEmbedder(bundle)
    self._encode = picture_encoder.PictureEncoder(bundle, chunk)

  def __call__(
    self, pictures: Sequence[bytes], names: Sequence[str]
  ) -> Float[np.ndarray, "n E"]:
    """Vectors of encoded pictures.

    Args:
      pictures: in any format that `images.decode` knows.
      names: what error messages call them.

    Raises:
      InputError: one cannot be decoded, or is too large.
    """
    pixels = images.decode_all(pictures, names, self._size)
    return vectors_of(self._bundle, self._embed, self._encode(pixels))


def vectors_of(
  bundle: bundle_lib.Bundle,
  embed: image_embedder.ImageEmbedder,
  features: Float[np.ndarray, "n F"],
) -> Float[np.ndarray, "n E"]:
  """Vectors of frozen features, which the run may have kept in 16 bits."""
  config = bundle.manifest["config"]["image"]
  if config["mode"] == "features" and config["dtype"] == "bfloat16":
    features = _bfloat16(features)
  return embed(features)


def _bfloat16(x: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
  """The nearest numbers of bfloat16, ties to even.

  >>> _bfloat16(np.array([1.00390625, 1.01171875, -3.0], np.float32)).tolist()
  [1.0, 1.015625, -3.0]
  """
  bits = x.view(np.uint32)
  bits = bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))
  return (bits & np.uint32(0xFFFF0000)).view(np.float32)
