"""The Deep Image CTR Model's network over short vectors (paper, section 4).

It runs on the worker and sees no mesh, no pixels and no table: ID vectors and
image vectors come in, one logit a sample goes out.
"""

from collections.abc import Sequence
import dataclasses
from typing import NamedTuple

from flax import nnx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dicm_jax import errors
from dicm_jax.model import aggregators, layers

IMAGES = ("both", "ad", "behaviour", "none")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
  """Shape of the network; the paper's values in section 4.1."""

  name: str
  images: str
  """Which image fields join the ID fields: both, ad, behaviour or none."""
  aggregator: str
  """How behaviour image vectors are joined, a key of AGGREGATORS."""
  normalize: str
  """How attention weights are scaled, a key of aggregators.NORMALIZE."""
  id_width: int
  """Width of an ID embedding (paper: 12)."""
  image_widths: tuple[int, ...]
  """Widths of the trainable image layers (paper: 256, 64, 12)."""
  hidden_widths: tuple[int, ...]
  """Hidden widths of the CTR MLP (paper: 200, 80)."""

  def __post_init__(self):
    if self.name != "dicm":
      raise errors.unknown_name("model.name", self.name, ["dicm"])
    if self.images not in IMAGES:
      raise errors.unknown_name("model.images", self.images, IMAGES)
    known = aggregators.AGGREGATORS
    if self.aggregator not in known:
      raise errors.unknown_name("model.aggregator", self.aggregator, known)
    known = aggregators.NORMALIZE
    if self.normalize not in known:
      raise errors.unknown_name("model.normalize", self.normalize, known)
    if not self.image_widths or min(self.image_widths) < 1:
      raise errors.InputError(
        "model.image_widths: expected at least one width, each >= 1, found "
        f"{self.image_widths}"
      )
    if min(self.hidden_widths, default=1) < 1:
      raise errors.InputError(
        f"model.hidden_widths: expected widths >= 1, found {self.hidden_widths}"
      )

  @property
  def sees_ad(self) -> bool:
    return self.images in ("both", "ad")

  @property
  def sees_behaviours(self) -> bool:
    return self.images in ("both", "behaviour")


class Lists(NamedTuple):
  """A multi-valued field of a device's groups, lists end to end."""

  place: Int[Array, " P"]
  """Index of each entry into the device's distinct rows."""
  group: Int[Array, " P"]
  """Group of each entry; >= the number of groups is padding."""


class Inputs(NamedTuple):
  """A device's samples in terms of its distinct rows."""

  ad_ids: dict[str, Int[Array, " b"]]
  user_ids: dict[str, Lists]
  ad_image: Int[Array, " b"]
  behaviours: Lists
  pair_behaviour: Int[Array, " Q"]
  pair_sample: Int[Array, " Q"]
  group: Int[Array, " b"]
  history_length: Int[Array, " G"]


class DICM(nnx.Module):
  """Embedding&MLP over ID fields, with ad and behaviour images."""

  def __init__(
    self,
    config: ModelConfig,
    *,
    ad_fields: Sequence[str],
    user_fields: Sequence[str],
    rngs: nnx.Rngs,
  ):
    self.config = config
    self.ad_fields, self.user_fields = tuple(ad_fields), tuple(user_fields)
    image_width = config.image_widths[-1]
    ad_width = len(ad_fields) * config.id_width
    width = ad_width + len(user_fields) * config.id_width
    if config.sees_ad:
      width += image_width
    if config.sees_behaviours:
      make = aggregators.AGGREGATORS[config.aggregator]
      self.aggregator = make(
        image_width, ad_width, normalize=config.normalize, rngs=rngs
      )
      width += self.aggregator.width
    # Two outputs and a softmax, as in the paper.
    self.net = layers.mlp((width, *config.hidden_widths, 2), rngs=rngs)

  def __call__(
    self,
    ids: Float[Array, "U D"],
    images: Float[Array, "V E"],
    inputs: Inputs,
  ) -> Float[Array, " b"]:
    """Logit of a click for each sample.

    Args:
      ids: vectors of the device's distinct ID rows.
      images: vectors of the device's distinct images.
      inputs: the samples, as indices into both.
    """
    ad_ids = _concat([ids[inputs.ad_ids[name]] for name in self.ad_fields])
    parts = [ad_ids, self._user_side(ids, inputs)[inputs.group]]
    ad_image = images[inputs.ad_image]
    if self.config.sees_ad:
      parts.append(ad_image)
    if self.config.sees_behaviours:
      queries = aggregators.Queries(ad_image, ad_ids)
      parts.append(self.aggregator(_behaviours(images, inputs), queries))
    outputs = self.net(_concat(parts))
    return outputs[:, 1] - outputs[:, 0]

  def _user_side(self, ids, inputs):
    """Pooled user fields, once a group."""
    num_groups = len(inputs.history_length)
    lists = [inputs.user_ids[name] for name in self.user_fields]
    return _concat(
      [aggregators.pool(ids[x.place], x.group, num_groups) for x in lists]
    )


def log_loss(
  logits: Float[Array, " b"], labels: Float[Array, " b"]
) -> Float[Array, " b"]:
  """Cross-entropy of each sample, in nats.

  >>> log_loss(jnp.array([0.0]), jnp.array([1.0])).round(4).tolist()
  [0.6930999755859375]
  """
  return jax.nn.softplus(logits) - labels * logits


def _behaviours(images, inputs: Inputs) -> aggregators.Behaviours:
  return aggregators.Behaviours(
    vectors=images[inputs.behaviours.place],
    group=inputs.behaviours.group,
    num_groups=len(inputs.history_length),
    sample_group=inputs.group,
    pair_behaviour=inputs.pair_behaviour,
    pair_sample=inputs.pair_sample,
  )


def _concat(parts):
  return jnp.concatenate(parts, axis=1)
