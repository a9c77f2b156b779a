"""Encoders that training changes: of pictures, by name, and of queries."""

from collections.abc import Callable
import dataclasses

from flax import nnx

from dicm_jax import errors
from dicm_jax.model import (
  inception_encoder,
  layers,
  small_inception,
  text_cnn,
)

ENCODERS: dict[str, Callable[..., nnx.Module]] = {
  "inception_v3": inception_encoder.InceptionEncoder,
  "small_inception": small_inception.SmallInception,
}
LASTS = ("strided", "max")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderConfig:
  """Shape of an encoder; with its parameters all that decides its output."""

  name: str
  """A key of ENCODERS."""
  width: int
  """D, numbers of an embedding."""
  image_size: int
  """Side of the square pictures in pixels."""
  last: str
  """What makes the last feature map smaller: a strided convolution (the talk's
  cure of empty embeddings), or max pooling."""

  def __post_init__(self):
    if self.name not in ENCODERS:
      raise errors.unknown_name("encoder.name", self.name, ENCODERS)
    if self.last not in LASTS:
      raise errors.unknown_name("encoder.last", self.last, LASTS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class QueryConfig:
  """Shape of an encoder of queries, and how it cuts them into words."""

  width: int
  """D, numbers of an embedding: as of the items beside it."""
  text: text_cnn.TextConfig

  def __post_init__(self):
    for name, value in (
      ("width", self.width),
      ("length", self.text.length),
      ("buckets", self.text.buckets),
    ):
      if type(value) is not int or value < 1:
        raise errors.InputError(f"{name}: expected >= 1, found {value!r}")


def make(
  config: EncoderConfig,
  *,
  groups: int = 1,
  total: layers.Total = layers.alone,
  rngs: nnx.Rngs,
) -> nnx.Module:
  """Builds an encoder: uint8 [K, S, S, 3] -> float32 [K, width].

  Args:
    config: its shape.
    groups: equal parts of a batch that batch normalisation takes apart.
    total: sums over the devices that share a batch.
    rngs: stream of the initial weights.
  """
  return ENCODERS[config.name](
    width=config.width,
    image_size=config.image_size,
    last=config.last,
    groups=groups,
    total=total,
    rngs=rngs,
  )


def make_query(config: QueryConfig, *, rngs: nnx.Rngs) -> text_cnn.TextCNN:
  """Builds an encoder of queries: int32 [n, length] -> float32 [n, width]."""
  return text_cnn.TextCNN(config.width, buckets=config.text.buckets, rngs=rngs)
