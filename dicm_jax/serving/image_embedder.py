"""A new picture's vector, of its frozen features, by NumPy.

The owners' part of the model, `owners.answer`, for one who has a bundle: the
frozen encoder that the manifest names makes the features, and this the vector
that a row of `images.parquet` would hold.
"""

from jaxtyping import Float
import numpy as np

from dicm_jax import errors
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import numpy_layers


class ImageEmbedder:
  """Makes vectors of frozen features.

  Args:
    bundle: of a network that sees pictures.

  Raises:
    InputError: its content is titles, or there is none; or the file is damaged.
  """

  def __init__(self, bundle: bundle_lib.Bundle):
    self._model = bundle.model
    encoder = bundle.manifest["encoder"]
    self.digest: str = encoder["digest"]
    """Of the encoder whose features it takes."""
    self.width: int = encoder["width"]
    if encoder["mode"] == "titles" or not bundle.fields.image_rows:
      raise errors.InputError(
        f"{bundle.folder}: expected a model that sees pictures, found one of "
        f"{'titles' if bundle.fields.image_rows else 'ids alone'}"
      )
    self._parameters = found = bundle.arrays(bundle_lib.LAYERS)
    activation = self._model["activation"].replace("dice", "prelu")
    names = ["layers"]
    if self._model["image_nets"] == "separate":
      names = ["layers.behaviour", "layers.ad"]
    self._nets = [
      numpy_layers.MLP(
        found, name, activation, self._model["output_activation"]
      )
      for name in names
      if self._model["image_widths"]
    ]

  def __call__(
    self, features: Float[np.ndarray, "n F"]
  ) -> Float[np.ndarray, "n E"]:
    """Vectors of pictures: trained numbers, and behind them the frozen head.

    Args:
      features: as the encoder of `digest` makes them.

    Raises:
      InputError: of another width.
    """
    if features.shape[1] != self.width:
      raise errors.InputError(
        f"expected features of {self.width} numbers, found {features.shape[1]}"
      )
    found = self._parameters
    scaled = features - found["standard.mean"]
    scaled *= found["standard.inverse_stddev"]
    parts = [net([(scaled, None)]) for net in self._nets]
    if self._model["frozen_width"] and self._model["frozen_head"] == "stored":
      parts.append(numpy_layers.unit(features))
    elif "standard.whiten" in found:
      parts.append(scaled @ found["standard.whiten"])
    return np.concatenate(parts, axis=1).astype(np.float32)
