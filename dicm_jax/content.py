"""The content table of a run: rows of one kind of content, on their servers."""

import logging
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np

from dicm_jax import config as config_lib
from dicm_jax import content_kinds, errors
from dicm_jax import state as state_lib
from dicm_jax.content_kinds import Kind, Rows
from dicm_jax.data import click_log, feature_files, held_rows
from dicm_jax.model import backbone as backbone_lib
from dicm_jax.model import embed, text_cnn
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import table

_log = logging.getLogger(__name__)


DEVICE = "device"
"""The tier of tables that lie on the devices."""


class Placed(NamedTuple):
  """The content table, and what the networks must know of it."""

  content: state_lib.Content
  standard: embed.Standard | None
  width: int
  """F, numbers of a row as the layers take it."""
  held: held_rows.HeldRows | None
  """The rows where they do not lie on the devices."""


def kind(config: config_lib.Config) -> Kind:
  """The kind of content that the config names, with its frozen weights.

  Raises:
    InputError: name, cut or weights of the backbone are wrong, or do not go
      with the mode.
  """
  image = config.image
  if image.mode == "titles" or image.backbone == text_cnn.NAME:
    _check_titles(config)
    return content_kinds.Titles(config.text)
  if image.backbone == feature_files.PRECOMPUTED:
    _check_precomputed(image)
    return content_kinds.Precomputed()
  kinds = {"features": content_kinds.Features, "pixels": content_kinds.Pixels}
  return kinds[image.mode](_backbone(config))


def _check_titles(config: config_lib.Config) -> None:
  """Refuses what means nothing where no part of the network is frozen."""
  image, model = config.image, config.model
  _expect(
    "where titles are the content",
    ("image.mode", "titles", image.mode),
    ("image.backbone", text_cnn.NAME, image.backbone),
    ("image.cut", "", image.cut),
    ("image.weights", "", image.weights),
    ("image.dtype", "float32", image.dtype),
    ("model.frozen_width", 0, model.frozen_width),
    ("model.output_activation", "linear", model.output_activation),
  )


def _check_precomputed(image: config_lib.Image) -> None:
  _expect(
    "with precomputed vectors",
    ("image.mode", "features", image.mode),
    ("image.cut", "", image.cut),
  )


def _expect(where: str, *values: tuple[str, Any, Any]) -> None:
  """Refuses values, (key, expected, found), that are others than expected."""
  for key, expected, found in values:
    if found != expected:
      raise errors.InputError(
        f"{key}: expected {expected!r} {where}, found {found!r}"
      )


def _backbone(config: config_lib.Config) -> backbone_lib.Backbone:
  image = config.image
  in_step = image.mode == "pixels"
  backbone = backbone_lib.make(
    image.backbone,
    cut=image.cut,
    weights=image.weights,
    seed=config.seed,
    dtype=image.dtype if in_step else "float32",
  )
  if "RANDOM" in backbone.notice:
    _log.warning(
      "%s\n%s: %s\n%s", "=" * 72, backbone.name, backbone.notice, "=" * 72
    )
  return backbone


def place(
  config: config_lib.Config, data: click_log.Dataset, kind: Kind, mesh: Mesh
) -> Placed:
  """Lays the content table over the servers.

  Raises:
    InputError: as `Kind.lay_out`.
  """
  if len(data.image_names) == 0:  # One empty row, so that shapes exist.
    nothing = np.zeros((1, 1), np.float32)
    rows = Rows(held_rows.HeldRows(nothing), embed.standard_of(nothing), 1)
  else:
    rows = kind.lay_out(data, config.model, config.image.tier)
  held = _in_dtype(rows.held, config.image.dtype)
  placed = None
  if config.image.tier == DEVICE:
    buckets = table.to_buckets(held.everything())
    placed, held = mesh_lib.put(mesh, mesh_lib.CONTENT, buckets), None
  params = jax.tree.map(
    lambda x: mesh_lib.put(mesh, mesh_lib.REPLICATED, np.asarray(x)),
    kind.in_step.params if kind.in_step else None,
  )
  content = state_lib.Content(placed, params)
  return Placed(content, rows.standard, rows.width, held)


def _in_dtype(held: held_rows.HeldRows, dtype: str) -> held_rows.HeldRows:
  """Features in the number type asked for; pixels and tokens stay integers."""
  if held.dtype != np.float32:
    return held
  return held._replace(taken_as=jnp.dtype(dtype))
