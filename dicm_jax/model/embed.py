"""The trainable part of the content embedding model (DICM paper, section 4.2).

Dense layers behind a frozen backbone, or a text CNN over the tokens of titles;
shared by ads and behaviours unless the config says otherwise. A vector depends
on nothing but its image or title, so any owner can compute it.
"""

from collections.abc import Callable
from typing import NamedTuple

from flax import nnx
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped
import numpy as np

from dicm_jax import errors
from dicm_jax.model import layers, text_cnn
from dicm_jax.model.config import ModelConfig


class Standard(NamedTuple):
  """Frozen maps of backbone features, fitted to a sample of images.

  The paper is silent on scaling; without it, the step size that suits a
  backbone would depend on the units of its last layer.
  """

  mean: Float[Array, " F"]
  inverse_stddev: Float[Array, " F"]
  whiten: Float[Array, "F Z"] | None
  """Standardised features to the second, frozen head; None: there is none."""


def standard_of(
  features: Float[np.ndarray, "n F"], frozen_width: int = 0
) -> Standard:
  """Statistics of a sample of images; constant features stay at zero.

  Args:
    features: of the sample.
    frozen_width: Z, principal components of the frozen head.

  Raises:
    InputError: the sample has fewer components.
  """
  mean = features.mean(axis=0, dtype=np.float64)
  stddev = features.std(axis=0, dtype=np.float64)
  inverse = np.where(stddev > 1e-6, 1 / np.maximum(stddev, 1e-6), 0)
  whiten = None  # No checkpoint can hold an array of no numbers.
  if frozen_width:
    whiten = _whitening((features - mean) * inverse, frozen_width)
    whiten = jnp.asarray(whiten, jnp.float32)
  return Standard(
    jnp.asarray(mean, jnp.float32), jnp.asarray(inverse, jnp.float32), whiten
  )


def _whitening(
  centred: Float[np.ndarray, "n F"], width: int
) -> Float[np.ndarray, "F Z"]:
  """Maps to the first principal components, each of unit variance."""
  _, singular, components = np.linalg.svd(centred, full_matrices=False)
  known = int(np.sum(singular > 1e-6 * singular[0]))
  if width > known:
    raise errors.InputError(
      f"model.frozen_width: expected at most {known}, the principal components "
      f"that {len(centred)} training images have; found {width}"
    )
  deviation = singular[:width] / np.sqrt(len(centred))
  return components[:width].T / deviation


def frozen_head(
  config: ModelConfig,
  standard: Standard | None,
  rows: Shaped[Array, "n F"],
) -> Float[Array, "n Z"]:
  """The numbers that an owner returns beside the trained ones.

  Either whitened principal components, of unit variance and no correlation,
  or the features as they are stored, at length 1. Tokens have none.
  """
  if config.stored:
    return layers.unit(rows.astype(jnp.float32))
  if standard is None or standard.whiten is None:
    return jnp.zeros((len(rows), 0))
  return standardise(standard, rows) @ standard.whiten


def taken(
  standard: Standard | None, rows: Shaped[Array, "n F"]
) -> Shaped[Array, "n F"]:
  """Rows as the layers take them: features to one scale, tokens as they are."""
  return rows if standard is None else standardise(standard, rows)


def standardise(
  standard: Standard, features: Float[Array, "n F"]
) -> Float[Array, "n F"]:
  """(features - mean) / standard deviation."""
  shape = features.shape
  centred = features - jnp.broadcast_to(standard.mean, shape)
  return centred * jnp.broadcast_to(standard.inverse_stddev, shape)


class Untrained(nnx.Module):
  """No layers: vectors of no numbers, where the frozen head is all."""

  def __call__(self, features: Float[Array, "n F"]) -> Float[Array, "n 0"]:
    return features[:, :0]


class Separate(nnx.Module):
  """Two networks over the same rows, their vectors end to end.

  As in the XDL example: one for behaviour images, one for ad images. An owner
  does not know which field asked for an image, so it answers for both.

  Args:
    make: makes one network.
  """

  def __init__(self, make: Callable[[], layers.MLP | text_cnn.TextCNN]):
    self.behaviour = make()
    self.ad = make()

  def __call__(self, rows: Shaped[Array, "n F"]) -> Float[Array, "n D"]:
    return jnp.concatenate([self.behaviour(rows), self.ad(rows)], 1)


Layers = layers.MLP | text_cnn.TextCNN | Separate | Untrained
"""What turns an owner's rows into vectors."""


def image_layers(
  features: int, config: ModelConfig, *, rngs: nnx.Rngs
) -> Layers:
  """Trainable layers F -> 256 -> 64 -> 12, linear at the end.

  Two such networks, and vectors of 2 D, where ad and behaviour images have one
  each; none where the config gives no widths. An owner sees its own images, not
  the batch, so that Dice becomes PReLU here.

  Args:
    features: F, width of the frozen features (VGG16 fc6: 4096).
    config: widths, activations, and how many networks.
    rngs: stream of the initial weights.
  """

  if not config.image_widths:
    return Untrained()

  def make() -> layers.MLP:
    return layers.MLP(
      (features, *config.image_widths),
      activation=config.activation.replace("dice", "prelu"),
      output=config.output_activation,
      rngs=rngs,
    )

  return Separate(make) if config.separate else make()


def title_layers(
  text: text_cnn.TextConfig, config: ModelConfig, *, rngs: nnx.Rngs
) -> Layers:
  """A text CNN whose vectors are as wide as those of images, or two.

  Args:
    text: what a title is to it.
    config: the last of its image widths, and how many networks.
    rngs: stream of the initial weights.
  """

  def make() -> text_cnn.TextCNN:
    return text_cnn.TextCNN(config.image_width, buckets=text.buckets, rngs=rngs)

  return Separate(make) if config.separate else make()
