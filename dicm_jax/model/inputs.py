"""A device's samples in terms of its distinct rows: what every net reads."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Size = Any
"""A number of samples or page views: an int, or what an export leaves open."""


class Past(NamedTuple):
  """A field of what the user clicked, and the ads' field it is the past of."""

  user: str
  ad: str


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
  context: Sequence[str] = ()
  """Fields of the ad side that are not of the ad itself, such as the place."""
  past: Sequence[Past] = ()
  """Fields of past clicks, which list the same clicks in the same order."""

  @property
  def num_ad(self) -> int:
    """ID vectors of the ad side."""
    return len(self.ad) + len(self.ad_lists)

  def ad_width(self, id_width: int) -> int:
    """Numbers of a sample's ad side: ID vectors of `id_width`, dense ones."""
    return self.num_ad * id_width + self.ad_dense

  def user_width(self, id_width: int) -> int:
    """Numbers of a group's user side: ID vectors of `id_width`, dense ones."""
    return len(self.user) * id_width + self.user_dense


class Lists(NamedTuple):
  """A multi-valued field of a device's groups or samples, end to end."""

  place: Int[Array, " P"]
  """Index of each entry into the device's distinct rows."""
  owner: Int[Array, " P"]
  """Group or sample of each entry; >= their number is padding."""
  weight: Float[Array, " P"] | None = None
  """None: all 1."""


class Pairs(NamedTuple):
  """All pairs of a sample and an entry of its group's history."""

  entry: Int[Array, " Q"]
  sample: Int[Array, " Q"]
  """>= b is padding."""

  def there(self, num_samples: Size) -> Bool[Array, " Q"]:
    """False for padding."""
    return self.sample < num_samples


class Inputs(NamedTuple):
  """A device's samples."""

  ad_ids: dict[str, Int[Array, " b"]]
  ad_lists: dict[str, Lists]
  user_ids: dict[str, Lists]
  ad_dense: Float[Array, "b L"]
  user_dense: Float[Array, "G K"]
  ad_image: Int[Array, " b"]
  behaviours: Lists
  image_pairs: Pairs
  """Of samples and behaviour images."""
  id_pairs: Pairs
  """Of samples and past clicks, for nets that attend to their ids."""
  group: Int[Array, " b"]
  history_length: Int[Array, " G"]


def groups_there(inputs: Inputs) -> Bool[Array, " G"]:
  """False for padding: samples come in the order of their groups."""
  return jnp.arange(inputs.history_length.shape[0]) <= inputs.group[-1]


def pool(
  vectors: Float[Array, "P D"], owner: Int[Array, " P"], num_owners: Size
) -> Float[Array, "G D"]:
  """Sums the vectors of each owner; owners out of range are padding."""
  return jax.ops.segment_sum(
    vectors, owner, num_owners, indices_are_sorted=True
  )


def pooled(
  ids: Float[Array, "U D"], lists: Lists, num_owners: Size
) -> Float[Array, "G D"]:
  """Sum of the ID vectors of each list, by weight."""
  vectors = ids[lists.place]
  if lists.weight is not None:
    vectors = vectors * lists.weight[:, None]
  return pool(vectors, lists.owner, num_owners)


def ad_vectors(
  ids: Float[Array, "U D"],
  fields: Fields,
  inputs: Inputs,
  *,
  without: Collection[str] = (),
) -> list[Float[Array, "b D"]]:
  """ID vectors of each sample, one a field of the ad side."""
  num_samples = inputs.group.shape[0]
  ad = [name for name in fields.ad if name not in without]
  lists = [name for name in fields.ad_lists if name not in without]
  return [ids[inputs.ad_ids[name]] for name in ad] + [
    pooled(ids, inputs.ad_lists[name], num_samples) for name in lists
  ]


def user_vectors(
  ids: Float[Array, "U D"],
  fields: Fields,
  inputs: Inputs,
  *,
  without: Collection[str] = (),
) -> list[Float[Array, "G D"]]:
  """Pooled ID vectors of each group, one a field of the user side."""
  num_groups = inputs.history_length.shape[0]
  names = [name for name in fields.user if name not in without]
  return [pooled(ids, inputs.user_ids[name], num_groups) for name in names]


def ad_side(
  ids: Float[Array, "U D"], fields: Fields, inputs: Inputs
) -> Float[Array, "b A"]:
  """ID vectors and numbers of each sample's ad, side by side."""
  return concat([*ad_vectors(ids, fields, inputs), inputs.ad_dense])


def user_side(
  ids: Float[Array, "U D"],
  fields: Fields,
  inputs: Inputs,
  *,
  without: Collection[str] = (),
) -> Float[Array, "G B"]:
  """ID vectors and numbers of each group's user, side by side."""
  vectors = user_vectors(ids, fields, inputs, without=without)
  return concat([*vectors, inputs.user_dense])


def concat(parts: Sequence[Float[Array, "n _"]]) -> Float[Array, "n E"]:
  return jnp.concatenate(parts, axis=1)
