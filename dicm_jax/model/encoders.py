"""Encoders of pictures that training changes, by name."""

from collections.abc import Callable
import dataclasses

from flax import nnx

from dicm_jax import errors
from dicm_jax.model import layers, small_inception

ENCODERS: dict[str, Callable[..., nnx.Module]] = {
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
