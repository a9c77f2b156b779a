"""First values of an encoder from a published network's weights."""

from jaxtyping import PyTree

from dicm_jax import errors
from dicm_jax.model import backbone, encoders, inception
from dicm_jax.model import weights as weights_lib

_INCEPTION = "inception_v3"


def fill(
  config: encoders.EncoderConfig, weights: str, params: PyTree
) -> PyTree:
  """The parameters, Inception's body as a file has it.

  Args:
    config: the encoder's shape.
    weights: a file as `weights.read` takes it, in either layout; "download" for
      the published one; "": all stay random.
    params: the encoder's, nested dicts.

  Raises:
    InputError: the encoder is another one, or the file does not fit.
  """
  if not weights:
    return params
  if config.name != _INCEPTION:
    raise errors.InputError(
      f"encoder_weights: expected '' with encoder.name={config.name!r}, whose "
      f"weights nobody publishes; found {weights!r}"
    )
  path = backbone.weights_file(_INCEPTION, weights)
  layers = inception.layers()
  tensors, _ = weights_lib.read(path, layers)
  weights_lib.fill(params["body"], layers, tensors)
  return params
