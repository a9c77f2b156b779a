"""The image table of a run: frozen features or pixels, on their servers."""

import logging
from typing import NamedTuple

import jax
from jax.sharding import Mesh
from jaxtyping import Float
import numpy as np

from dicm_jax import config as config_lib
from dicm_jax import errors, features, progress
from dicm_jax import state as state_lib
from dicm_jax.data import click_log, feature_files
from dicm_jax.data import images as images_lib
from dicm_jax.model import backbone as backbone_lib
from dicm_jax.model import config as model_config
from dicm_jax.model import embed
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import table

_log = logging.getLogger(__name__)

STANDARD_IMAGES = 1024
"""Training images from which the features' scaling is measured, at most."""

Encoder = backbone_lib.Backbone | None
"""None: the data set brings its own vectors."""


class Placed(NamedTuple):
  """The image table, and what the networks must know of it."""

  content: state_lib.Content
  standard: embed.Standard
  width: int
  """F, numbers of an image's frozen features."""


def encoder(config: config_lib.Config) -> Encoder:
  """The backbone that the config names, with its weights.

  Raises:
    InputError: its name, cut, mode or weights are wrong.
  """
  image = config.image
  if image.backbone == feature_files.PRECOMPUTED:
    if image.mode != "features":
      raise errors.InputError(
        f"image.mode: expected 'features' with precomputed vectors, found "
        f"{image.mode!r}"
      )
    if image.cut:
      raise errors.InputError(
        f"image.cut: expected '' with precomputed vectors, found {image.cut!r}"
      )
    return None
  backbone = backbone_lib.make(
    image.backbone, cut=image.cut, weights=image.weights, seed=config.seed
  )
  if "RANDOM" in backbone.notice:
    _log.warning(
      "%s\n%s: %s\n%s", "=" * 72, backbone.name, backbone.notice, "=" * 72
    )
  return backbone


def notice(encoder: Encoder) -> str:
  """What every report must say about the weights."""
  return encoder.notice if encoder else "image vectors made elsewhere"


def digest(encoder: Encoder) -> str:
  """Of all that decides a picture's features."""
  return encoder.digest if encoder else feature_files.PRECOMPUTED


def place(
  config: config_lib.Config,
  data: click_log.Dataset,
  encoder: Encoder,
  mesh: Mesh,
) -> Placed:
  """Lays the image table over the servers and measures the features' scale.

  Raises:
    InputError: a picture cannot be decoded, there are no vectors, or the
      frozen head has another width.
  """
  if len(data.image_names) == 0:  # One empty row, so that shapes exist.
    rows = np.zeros((1, 1), np.float32)
    placed = mesh_lib.put(mesh, mesh_lib.CONTENT, table.to_buckets(rows))
    return Placed(state_lib.Content(placed, None), embed.standard_of(rows), 1)
  seen = _seen_images(data)
  if config.image.mode == "features" or encoder is None:
    rows = frozen_rows(data, encoder)
    of_seen, params = rows[seen], None
  else:
    rows = images_lib.decode_all(
      data.image_bytes, data.image_names, size=encoder.image_size
    )
    params = jax.tree.map(
      lambda x: mesh_lib.put(mesh, mesh_lib.REPLICATED, np.asarray(x)),
      encoder.params,
    )
    of_seen = _encoded(
      [data.image_bytes[i] for i in seen],
      [data.image_names[i] for i in seen],
      encoder,
    )
  placed = mesh_lib.put(mesh, mesh_lib.CONTENT, table.to_buckets(rows))
  return Placed(
    state_lib.Content(placed, params),
    _standard(config.model, of_seen),
    of_seen.shape[1],
  )


def _standard(
  model: model_config.ModelConfig, features: Float[np.ndarray, "n F"]
) -> embed.Standard:
  """The frozen maps of what owners return."""
  if model.frozen_head != "stored":
    return embed.standard_of(features, model.frozen_width)
  if model.frozen_width != features.shape[1]:
    raise errors.InputError(
      f"model.frozen_width: expected {features.shape[1]}, all numbers of an "
      "image's features, with model.frozen_head='stored'; found "
      f"{model.frozen_width}"
    )
  return embed.standard_of(features)


def frozen_rows(
  data: click_log.Dataset, encoder: Encoder
) -> Float[np.ndarray, "R F"]:
  """Frozen features of all image rows: those stored, else computed now.

  Raises:
    InputError: as `place`.
  """
  stored = data.frozen(digest(encoder))
  if stored is not None:
    return stored
  if encoder is None:
    raise errors.InputError(
      "image.backbone='precomputed': expected a data set prepared with "
      "--vectors; it holds none"
    )
  return _encoded(data.image_bytes, data.image_names, encoder)


def check_images(config: config_lib.Config, data: click_log.Dataset) -> None:
  """Refuses a model with pictures on data without.

  Raises:
    InputError: so it is.
  """
  if len(data.image_names) == 0 and config.model.images != "none":
    raise errors.InputError(
      f"model.images={config.model.images!r}: the data set holds no pictures; "
      "expected --config.model.images=none"
    )


def _seen_images(data: click_log.Dataset):
  """Training images, thinned out evenly to at most STANDARD_IMAGES."""
  seen = np.union1d(data.train.ad_image, data.train.behaviour_images.values)
  return seen[:: -(-len(seen) // STANDARD_IMAGES)]


def _encoded(image_bytes, image_names, backbone: backbone_lib.Backbone):
  """Frozen features, cached; says how far it is every few seconds."""
  return features.frozen_features(
    image_bytes,
    image_names,
    backbone,
    cache_dir=features.cache_dir(),
    on_progress=progress.Counter(f"{backbone.name} features").part(),
  )
