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
IMAGE_NETS = ("shared", "separate")


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
  image_nets: str
  """shared by ad and behaviour images (paper), or separate."""
  hidden_widths: tuple[int, ...]
  """Hidden widths of the CTR MLP (paper: 200, 80)."""
  outputs: int
  """2: a softmax over no click and click (paper); 1: one logit."""
  activation: str
  """Between dense layers, a key of layers.ACTIVATIONS (paper: prelu)."""

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
    if self.image_nets not in IMAGE_NETS:
      raise errors.unknown_name("model.image_nets", self.image_nets, IMAGE_NETS)
    known = layers.ACTIVATIONS
    if self.activation not in known:
      raise errors.unknown_name("model.activation", self.activation, known)
    if self.outputs not in (1, 2):
      raise errors.InputError(
        f"model.outputs: expected 1 or 2, found {self.outputs}"
      )
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

  @property
  def separate(self) -> bool:
    return self.image_nets == "separate"

  @property
  def image_vector(self) -> int:
    """Numbers that an owner returns for an image."""
    return self.image_widths[-1] * (2 if self.separate else 1)


class Fields(NamedTuple):
  """What a data set's samples consist of besides images."""

  ad: Sequence[str]
  """Fields with one id a sample."""
  user: Sequence[str]
  """Fields with any number of ids a group."""
  ad_lists: Sequence[str] = ()
  """Fields with any number of ids a sample."""
  ad_dense: int = 0
  """Dense numbers of a sample."""
  user_dense: int = 0
  """Dense numbers of a group."""


class Lists(NamedTuple):
  """A multi-valued field of a device's groups or samples, end to end."""

  place: Int[Array, " P"]
  """Index of each entry into the device's distinct rows."""
  owner: Int[Array, " P"]
  """Group or sample of each entry; >= their number is padding."""
  weight: Float[Array, " P"] | None = None
  """None: all 1."""


class Inputs(NamedTuple):
  """A device's samples in terms of its distinct rows."""

  ad_ids: dict[str, Int[Array, " b"]]
  ad_lists: dict[str, Lists]
  user_ids: dict[str, Lists]
  ad_dense: Float[Array, "b L"]
  user_dense: Float[Array, "G K"]
  ad_image: Int[Array, " b"]
  behaviours: Lists
  pair_behaviour: Int[Array, " Q"]
  pair_sample: Int[Array, " Q"]
  group: Int[Array, " b"]
  history_length: Int[Array, " G"]


class DICM(nnx.Module):
  """Embedding&MLP over ID fields, with ad and behaviour images."""

  def __init__(self, config: ModelConfig, *, fields: Fields, rngs: nnx.Rngs):
    self.config, self.fields = config, fields
    image_width = config.image_widths[-1]
    ad_ids = len(fields.ad) + len(fields.ad_lists)
    ad_width = ad_ids * config.id_width + fields.ad_dense
    width = ad_width + len(fields.user) * config.id_width + fields.user_dense
    if config.sees_ad:
      width += image_width
    if config.sees_behaviours:
      make = aggregators.AGGREGATORS[config.aggregator]
      self.aggregator = make(
        image_width, ad_width, normalize=config.normalize, rngs=rngs
      )
      width += self.aggregator.width
    self.net = layers.mlp(
      (width, *config.hidden_widths, config.outputs),
      activation=config.activation,
      rngs=rngs,
    )

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
    of_behaviours, of_ads = self._image_vectors(images)
    ad_side = self._ad_side(ids, inputs)
    parts = [ad_side, self._user_side(ids, inputs)[inputs.group]]
    ad_image = of_ads[inputs.ad_image]
    if self.config.sees_ad:
      parts.append(ad_image)
    if self.config.sees_behaviours:
      queries = aggregators.Queries(ad_image, ad_side)
      parts.append(self.aggregator(_behaviours(of_behaviours, inputs), queries))
    outputs = self.net(_concat(parts))
    if self.config.outputs == 1:
      return outputs[:, 0]
    return outputs[:, 1] - outputs[:, 0]

  def _image_vectors(self, images):
    """Vectors of the images as behaviours, and as ads."""
    if not self.config.separate:
      return images, images
    width = self.config.image_widths[-1]
    return images[:, :width], images[:, width:]

  def _ad_side(self, ids, inputs: Inputs):
    """ID vectors and numbers of each sample."""
    num_samples = len(inputs.group)
    one = [ids[inputs.ad_ids[name]] for name in self.fields.ad]
    lists = [inputs.ad_lists[name] for name in self.fields.ad_lists]
    pooled = [_pooled(ids, x, num_samples) for x in lists]
    return _concat([*one, *pooled, inputs.ad_dense])

  def _user_side(self, ids, inputs: Inputs):
    """Pooled ID vectors and numbers of each group."""
    num_groups = len(inputs.history_length)
    lists = [inputs.user_ids[name] for name in self.fields.user]
    pooled = [_pooled(ids, x, num_groups) for x in lists]
    return _concat([*pooled, inputs.user_dense])


def _pooled(ids, lists: Lists, num_owners: int):
  vectors = ids[lists.place]
  if lists.weight is not None:
    vectors = vectors * lists.weight[:, None]
  return aggregators.pool(vectors, lists.owner, num_owners)


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
    group=inputs.behaviours.owner,
    num_groups=len(inputs.history_length),
    sample_group=inputs.group,
    pair_behaviour=inputs.pair_behaviour,
    pair_sample=inputs.pair_sample,
  )


def _concat(parts):
  return jnp.concatenate(parts, axis=1)
