"""The kinds of content: what a table's row is, and what makes it a vector.

`Features`, `Precomputed` and `Pixels` are pictures, `Titles` are texts. The
owners know none of them: they read rows, encode them where `in_step` says so,
and run the layers.
"""

from collections.abc import Sequence
import dataclasses
import hashlib
from typing import NamedTuple, Protocol, runtime_checkable

from flax import nnx
from jaxtyping import Float
import numpy as np

from dicm_jax import errors, features, pixel_file, progress
from dicm_jax.data import click_log, feature_files, held_rows
from dicm_jax.data import images as images_lib
from dicm_jax.data import text as text_lib
from dicm_jax.model import backbone as backbone_lib
from dicm_jax.model import config as model_config
from dicm_jax.model import embed, text_cnn

FILE = "file"
"""The tier of rows that are mapped from a file."""
STANDARD_IMAGES = 1024
"""Training images from which the features' scaling is measured, at most."""


class Rows(NamedTuple):
  """What goes into the table, and what the layers must know of it."""

  held: held_rows.HeldRows
  standard: embed.Standard | None
  """Scaling of frozen features; None: the layers take rows as they are."""
  width: int
  """F, numbers of a row as the layers take it."""


@runtime_checkable
class Kind(Protocol):
  """A kind of content."""

  @property
  def digest(self) -> str:
    """Of all that decides what the layers take of an image or title."""
    ...

  @property
  def notice(self) -> str:
    """What every report must say about the weights."""
    ...

  @property
  def in_step(self) -> backbone_lib.Backbone | None:
    """Frozen encoder of rows; None: they are what the layers take."""
    ...

  def check(
    self, data: click_log.Dataset, model: model_config.ModelConfig
  ) -> None:
    """Raises InputError where the data hold nothing of the kind."""
    ...

  def lay_out(
    self, data: click_log.Dataset, model: model_config.ModelConfig, tier: str
  ) -> Rows:
    """Makes the rows of a data set that was checked.

    Args:
      data: the data set.
      model: the network's shape.
      tier: file: rows stay on disk until they are wanted; else they are read.

    Raises:
      InputError: a picture cannot be decoded, or the frozen head has another
        width.
    """
    ...

  def layers(
    self, width: int, model: model_config.ModelConfig, *, rngs: nnx.Rngs
  ) -> embed.Layers:
    """The owners' trainable layers over rows of `width` numbers."""
    ...


class _OfPictures:
  """What all kinds of pictures share."""

  def check(
    self, data: click_log.Dataset, model: model_config.ModelConfig
  ) -> None:
    if len(data.image_names) == 0 and model.images != "none":
      raise errors.InputError(
        f"model.images={model.images!r}: the data set holds no pictures; "
        "expected --config.model.images=none"
      )

  def layers(
    self, width: int, model: model_config.ModelConfig, *, rngs: nnx.Rngs
  ) -> embed.Layers:
    return embed.image_layers(width, model, rngs=rngs)


@dataclasses.dataclass(frozen=True)
class Features(_OfPictures):
  """Pictures as a backbone sees them, encoded once."""

  backbone: backbone_lib.Backbone
  in_step = None

  @property
  def digest(self) -> str:
    return self.backbone.digest

  @property
  def notice(self) -> str:
    return self.backbone.notice

  def lay_out(
    self, data: click_log.Dataset, model: model_config.ModelConfig, tier: str
  ) -> Rows:
    stored = data.held(self.digest, tier == FILE)
    if stored is None and tier == FILE:
      raise errors.InputError(
        "image.tier='file': expected a data set prepared with "
        f"--backbone={self.backbone.name}, and its cut and weights; it holds "
        "no such features"
      )
    if stored is None:
      _check_pictures(data, self.backbone)
      stored = held_rows.HeldRows(
        _encoded(data.image_bytes, data.image_names, self.backbone)
      )
    return _feature_rows(stored, data, model)


@dataclasses.dataclass(frozen=True)
class Precomputed(_OfPictures):
  """Vectors that the data set brings."""

  digest = feature_files.PRECOMPUTED
  notice = "image vectors made elsewhere"
  in_step = None

  def lay_out(
    self, data: click_log.Dataset, model: model_config.ModelConfig, tier: str
  ) -> Rows:
    stored = data.held(self.digest, tier == FILE)
    if stored is None:
      raise errors.InputError(
        "image.backbone='precomputed': expected a data set prepared with "
        "--vectors; it holds none"
      )
    return _feature_rows(stored, data, model)


@dataclasses.dataclass(frozen=True)
class Pixels(_OfPictures):
  """Pictures as they are, which the backbone sees in every step."""

  in_step: backbone_lib.Backbone

  @property
  def digest(self) -> str:
    return self.in_step.digest

  @property
  def notice(self) -> str:
    return self.in_step.notice

  def lay_out(
    self, data: click_log.Dataset, model: model_config.ModelConfig, tier: str
  ) -> Rows:
    _check_pictures(data, self.in_step)
    seen = _seen_images(data)
    of_seen = _encoded(
      [data.image_bytes[i] for i in seen],
      [data.image_names[i] for i in seen],
      self.in_step,
    )
    size = self.in_step.image_size
    if tier == FILE:
      pixels = pixel_file.mapped(data, size, features.cache_dir())
    else:
      pixels = images_lib.decode_all(data.image_bytes, data.image_names, size)
    return Rows(
      held_rows.HeldRows(pixels), _standard(model, of_seen), of_seen.shape[1]
    )


@dataclasses.dataclass(frozen=True)
class Titles:
  """Titles as token numbers, which a text CNN reads: none of it is frozen."""

  text: text_cnn.TextConfig
  notice = "a text CNN over titles, all of it trained here"
  in_step = None

  @property
  def digest(self) -> str:
    said = repr((text_lib.VERSION, self.text))
    return hashlib.sha256(said.encode()).hexdigest()

  def check(
    self, data: click_log.Dataset, model: model_config.ModelConfig
  ) -> None:
    del model  # Whatever it sees of them.
    if not data.titles:
      raise errors.InputError(
        "image.mode='titles': the data set holds no titles; expected one "
        "prepared with --titles=FILE, a table of key and title"
      )

  def lay_out(
    self, data: click_log.Dataset, model: model_config.ModelConfig, tier: str
  ) -> Rows:
    del model, tier  # Small: some words of a row.
    assert data.titles is not None
    tokens = text_lib.tokens(
      data.titles, length=self.text.length, buckets=self.text.buckets
    )
    return Rows(held_rows.HeldRows(tokens), None, self.text.length)

  def layers(
    self, width: int, model: model_config.ModelConfig, *, rngs: nnx.Rngs
  ) -> embed.Layers:
    del width  # A text CNN reads texts of any length.
    return embed.title_layers(self.text, model, rngs=rngs)


def _check_pictures(
  data: click_log.Dataset, backbone: backbone_lib.Backbone
) -> None:
  """Refuses to encode pictures where the rows are of something else."""
  if len(data.image_bytes) != len(data.image_names):
    raise errors.InputError(
      f"image.backbone={backbone.name!r}: the data set holds no pictures; "
      f"expected {feature_files.PRECOMPUTED!r}, or with image.mode='titles' "
      f"{text_cnn.NAME!r}, whichever it holds"
    )


def _feature_rows(
  stored: held_rows.HeldRows,
  data: click_log.Dataset,
  model: model_config.ModelConfig,
) -> Rows:
  seen = _seen_images(data)
  of_seen = stored.take(seen)
  wrong = seen[~np.isfinite(of_seen).all(axis=1)]
  if len(wrong):  # Of a file that is not read as a whole.
    raise errors.InputError(
      f"features of image {data.image_names[wrong[0]]!r}, row {wrong[0]}: "
      f"expected finite numbers. They are of {stored.about}"
    )
  return Rows(stored, _standard(model, of_seen), of_seen.shape[1])


def _standard(
  model: model_config.ModelConfig, of_seen: Float[np.ndarray, "n F"]
) -> embed.Standard:
  """The frozen maps of what owners return."""
  if model.frozen_head != "stored":
    return embed.standard_of(of_seen, model.frozen_width)
  if model.frozen_width != of_seen.shape[1]:
    raise errors.InputError(
      f"model.frozen_width: expected {of_seen.shape[1]}, all numbers of an "
      "image's features, with model.frozen_head='stored'; found "
      f"{model.frozen_width}"
    )
  return embed.standard_of(of_seen)


def _seen_images(data: click_log.Dataset):
  """Training images, thinned out evenly to at most STANDARD_IMAGES."""
  seen = np.union1d(data.train.ad_image, data.train.behaviour_images.values)
  return seen[:: -(-len(seen) // STANDARD_IMAGES)]


def _encoded(
  image_bytes: Sequence[bytes],
  image_names: Sequence[str],
  backbone: backbone_lib.Backbone,
) -> Float[np.ndarray, "n F"]:
  """Frozen features, cached; says how far it is every few seconds."""
  return features.frozen_features(
    image_bytes,
    image_names,
    backbone,
    cache_dir=features.cache_dir(),
    on_progress=progress.Counter(f"{backbone.name} features").part(),
  )
