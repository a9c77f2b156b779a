"""Inception v3, frozen or trained: pictures to the mean of its last maps.

Architecture: Szegedy et al. 2015, https://arxiv.org/abs/1512.00567; the tables
are in inception_blocks.py.
"""

import functools

from flax import nnx
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, UInt8

from dicm_jax import errors
from dicm_jax.model import batch_norm, conv, inception_blocks, mixed, weights
from dicm_jax.model import layers as layers_lib

IMAGE_SIZE = 299
MIN_IMAGE_SIZE = 75
"""What is left of it at the last block is one pixel."""
CUT = "pool"
"""The one layer whose output may be taken frozen."""
WIDTH = inception_blocks.WIDTH

INPUT = ((127.5, 127.5, 127.5), (1 / 127.5, 1 / 127.5, 1 / 127.5))
"""Mean and factor of both families of weights: colours from -1 to 1.

Keras scales so (its mode "tf"); torchvision's `transform_input`, which its
weights switch on, turns ImageNet's mean and deviation into the same.
"""
NO_BORDER = {"count_border": False}
"""How Keras's weights were trained; TensorFlow's means leave padding out."""


def last_side(image_size: int) -> int:
  """Side of the last maps, in pixels.

  >>> last_side(299), last_side(75)
  (8, 1)
  """
  side = (image_size - 3) // 2 - 1  # Conv2d_1a of stride 2, then 2a.
  side = (side - 3) // 2 - 1  # The first pooling, then Conv2d_4a.
  for _ in range(3):  # The second pooling, Mixed_6a, Mixed_7a.
    side = (side - 3) // 2 + 1
  return side


class InceptionV3(nnx.Module):
  """Pictures to 2048 numbers, or to the logits of classes.

  Args:
    image_size: side of the square pictures in pixels, at least 75.
    classes: of the classifier on top; 0: none. There is no dropout before it.
    aux_classes: of the auxiliary classifier; 0: none. It needs pictures of at
      least 299 pixels.
    count_border: whether 3 x 3 means at the border count the zeros beyond it:
      so with torchvision's weights, not with Keras's.
    groups: parts of a batch with statistics of their own; see `BatchNorm`.
    total: sums over the devices that share a batch.
    dtype: of the convolutions' arithmetic; parameters, statistics and result
      stay float32.
    rngs: source of the He-normal first values.

  Raises:
    InputError: the pictures are too small.
  """

  def __init__(
    self,
    *,
    image_size: int = IMAGE_SIZE,
    classes: int = 0,
    aux_classes: int = 0,
    count_border: bool = True,
    groups: int = 1,
    total: layers_lib.Total = layers_lib.alone,
    dtype: DTypeLike = jnp.float32,
    rngs: nnx.Rngs,
  ):
    least = IMAGE_SIZE if aux_classes else MIN_IMAGE_SIZE
    if image_size < least:
      raise errors.InputError(
        f"inception_v3: expected image_size of at least {least}"
        f"{' with aux_classes' if aux_classes else ''}; found {image_size}"
      )
    norm = functools.partial(batch_norm.BatchNorm, groups=groups, total=total)
    make = functools.partial(
      mixed.Mixed,
      count_border=count_border,
      norm=norm,
      dtype=dtype,
      rngs=rngs,
    )
    self.dtype = dtype
    self.normalise = conv.Normalise(*INPUT)
    self.blocks = nnx.Dict(
      {
        name: make(block, inputs)
        for name, block, inputs in inception_blocks.blocks()
      }
    )
    self.heads = nnx.Dict()
    if classes:
      self.heads["classifier"] = nnx.Linear(WIDTH, classes, rngs=rngs)
    if aux_classes:
      self.heads["auxiliary"] = make(
        inception_blocks.AUXILIARY, inception_blocks.AUXILIARY_INPUTS
      )
      self.heads["aux_classifier"] = nnx.Linear(
        inception_blocks.AUXILIARY_WIDTH, aux_classes, rngs=rngs
      )
    conv.draw_kernels(self, rngs)

  def __call__(self, images: UInt8[Array, "K H W 3"]) -> Float[Array, "K F"]:
    """Encodes pictures.

    Args:
      images: uint8 [K, image_size, image_size, 3] in RGB order.

    Returns:
      float32 [K, 2048], not negative; with `classes` the logits.
    """
    return self._top(self.maps(images))

  def with_auxiliary(
    self, images: UInt8[Array, "K H W 3"]
  ) -> tuple[Float[Array, "K F"], Float[Array, "K A"]]:
    """Returns the result and the logits of `aux_classes`, from one pass."""
    maps = self.maps(images)
    x = nnx.avg_pool(maps["Mixed_6e"], (5, 5), strides=(3, 3))
    x = _mean(self.heads["auxiliary"](x))
    return self._top(maps), self.heads["aux_classifier"](x)

  def maps(
    self, images: UInt8[Array, "K H W 3"]
  ) -> dict[str, Float[Array, "K h w C"]]:
    """Returns the output of each block, by torchvision's name or "stem"."""
    x = self.normalise(images).astype(self.dtype)
    found = {}
    # The table's order: merged from arrays, a Dict has that of the alphabet.
    for name in inception_blocks.BLOCKS:
      found[name] = x = self.blocks[name](x)
    return found

  def _top(self, maps):
    x = _mean(maps["Mixed_7c"])
    return self.heads["classifier"](x) if "classifier" in self.heads else x


def layers(
  image_size: int = IMAGE_SIZE, *, classes: int = 0, aux_classes: int = 0
) -> tuple[weights.AnyLayer, ...]:
  """Says where each tensor of a weights file belongs.

  Args:
    image_size: not used: no layer's shape depends on it.
    classes: as in `InceptionV3`.
    aux_classes: as in `InceptionV3`; Keras files have no such classifier.

  Returns:
    94 convolutions and their normalisations, then the heads asked for, in
    Keras and in torchvision names.
  """
  del image_size
  found = []
  for name, block, inputs in inception_blocks.blocks():
    outer = "" if name == "stem" else f"{name}."
    for shape, channels in mixed.convs(block, inputs):
      # Keras numbers them all; two of our layers a unit.
      number = 1 + len(found) // 2
      found += _unit(
        ("blocks", name, "units", shape.name),
        f"{outer}{shape.name}",
        (f"conv2d_{number}", f"batch_normalization_{number}"),
        shape,
        channels,
      )
  if classes:
    found.append(_dense("classifier", "fc", "predictions", WIDTH, classes))
  return (*found, *(_auxiliary(aux_classes) if aux_classes else ()))


def _auxiliary(classes: int) -> list[weights.AnyLayer]:
  """The auxiliary classifier's; the names for Keras are made up."""
  found = []
  block = inception_blocks.AUXILIARY
  for shape, channels in mixed.convs(block, inception_blocks.AUXILIARY_INPUTS):
    torch = f"AuxLogits.{shape.name}"
    path = ("heads", "auxiliary", "units", shape.name)
    keras = (f"{torch}.conv", f"{torch}.bn")
    found += _unit(path, torch, keras, shape, channels)
  torch = "AuxLogits.fc"
  return [
    *found,
    _dense(
      "aux_classifier", torch, torch, inception_blocks.AUXILIARY_WIDTH, classes
    ),
  ]


def _unit(
  path: tuple[str, ...],
  torch: str,
  keras: tuple[str, str],
  shape: mixed.Conv,
  inputs: int,
) -> tuple[weights.Layer, weights.Norm]:
  """A convolution, for colours in RGB order in Keras too, and its norm."""
  convolution = weights.Layer(
    keras[0],
    (*path, "conv"),
    (*shape.kernel, inputs, shape.outputs),
    torch=f"{torch}.conv",
    bias=False,
    counted=True,
  )
  norm = weights.Norm(
    keras[1],
    (*path, "norm"),
    shape.outputs,
    torch=f"{torch}.bn",
    counted=True,
  )
  return convolution, norm


def _dense(
  name: str, torch: str, keras: str, inputs: int, classes: int
) -> weights.Layer:
  return weights.Layer(keras, ("heads", name), (inputs, classes), torch=torch)


def _mean(x: Float[Array, "K h w C"]) -> Float[Array, "K C"]:
  return jnp.mean(x.astype(jnp.float32), axis=(1, 2))
