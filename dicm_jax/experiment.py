"""From a config to everything a run needs: data, mesh, content, first state."""

from collections.abc import Iterator
import dataclasses
import logging
import time
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np

from dicm_jax import config as config_lib
from dicm_jax import errors, features, optim, train
from dicm_jax.data import batch as batch_lib
from dicm_jax.data import click_log, pipeline, sample
from dicm_jax.data import images as images_lib
from dicm_jax.model import backbone as backbone_lib
from dicm_jax.model import dicm, embed
from dicm_jax.program import Program
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import route, table

_log = logging.getLogger(__name__)

PROGRESS_SECONDS = 5
STANDARD_IMAGES = 1024
"""Training images from which the features' scaling is measured, at most."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Experiment:
  """A run's fixed parts and its first state."""

  data: click_log.Dataset
  layout: batch_lib.Layout
  order: pipeline.Order
  batch_size: int
  """Samples of a batch, over all devices."""
  capacities: batch_lib.Capacities
  feature_width: int
  """F, numbers of an image's frozen features."""
  program: Program
  content: train.Content
  state: train.State
  weights_notice: str
  """What every report must say about the backbone's weights."""

  def batches(
    self, first_step: int, end_step: int
  ) -> Iterator[batch_lib.Batch]:
    """Training batches of steps [first_step, end_step), counted from 0."""
    return pipeline.stream(
      self.data.train,
      self.order,
      self.layout,
      first_step=first_step,
      end_step=end_step,
      num_devices=self.program.mesh.size,
      capacities=self.capacities,
    )


def build(
  config: config_lib.Config,
  *,
  data: click_log.Dataset | None = None,
  devices: list[Any] | None = None,
) -> Experiment:
  """Builds an experiment.

  Args:
    config: as made by a file of configs/.
    data: the data set; None loads the one that the config names.
    devices: devices of the mesh; None takes all.

  Raises:
    InputError: a value of the config, or a file it names, is wrong.
  """
  mesh = mesh_lib.make_mesh(config.mesh.worker, config.mesh.server, devices)
  table.check_owners(mesh.size)
  model = config.model
  sparse, dense = _optimizers(config)
  check_batch_size(config.train.batch_size, mesh)
  backbone = _backbone(config)  # VGG16 takes seconds: last of the checks.
  data = load_data(config) if data is None else data
  layout = batch_lib.Layout(
    features=data.features,
    ad_images=model.sees_ad or model.sees_behaviours,
    behaviour_images=model.sees_behaviours,
  )
  order = pipeline.shuffled(data.train, config.seed, config.train.batch_size)
  capacities = pipeline.capacities(
    data.train,
    order,
    layout,
    steps=config.train.steps,
    num_devices=mesh.size,
  )
  net_def, embed_def, params = _networks(config.seed, model, layout, backbone)
  content, standard = _content(config, data, backbone, mesh)
  id_route, image_route = _routes(data, order, layout, mesh)
  program = Program(
    mesh=mesh,
    id_route=id_route,
    image_route=image_route,
    model=model,
    net_def=net_def,
    embed_def=embed_def,
    backbone=backbone if config.image.mode == "pixels" else None,
    image_chunk=config.image.chunk,
    sparse=sparse,
    dense=dense,
  )
  return Experiment(
    data=data,
    layout=layout,
    order=order,
    batch_size=config.train.batch_size,
    capacities=capacities,
    feature_width=backbone.width,
    program=program,
    content=content,
    state=_first_state(config.seed, program, layout, params, standard),
    weights_notice=backbone.notice,
  )


def load_data(config: config_lib.Config) -> click_log.Dataset:
  """The data set that the config names."""
  if config.data.path:
    raise errors.InputError(
      f"data.path={config.data.path!r}: expected an empty path, which is the "
      "built-in sample; prepared data sets cannot be read yet"
    )
  return sample.generate(seed=0).dataset


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
  if batch_size < 1 or batch_size % mesh.size:
    raise errors.InputError(
      f"train.batch_size: expected a positive multiple of the {mesh.size} "
      f"devices, found {batch_size}"
    )


def _optimizers(config: config_lib.Config):
  return (
    optim.make(config.sparse_optimizer, optim.SPARSE, "sparse_optimizer"),
    optim.make(config.dense_optimizer, optim.DENSE, "dense_optimizer"),
  )


def _backbone(config: config_lib.Config) -> backbone_lib.Backbone:
  image = config.image
  backbone = backbone_lib.make(
    image.backbone, weights=image.weights, seed=config.seed
  )
  if "RANDOM" in backbone.notice:
    _log.warning(
      "%s\n%s: %s\n%s", "=" * 72, backbone.name, backbone.notice, "=" * 72
    )
  return backbone


def _networks(seed, model: dicm.ModelConfig, layout, backbone):
  """Definitions and first parameters of the two trainable networks."""

  def make():
    rngs = nnx.Rngs(seed)
    net = dicm.DICM(
      model,
      ad_fields=layout.names("ad"),
      user_fields=layout.names("user"),
      rngs=rngs,
    )
    layers = embed.image_layers(backbone.width, model.image_widths, rngs=rngs)
    return {"embed": layers, "net": net}

  def definition(name: str):
    return nnx.split(nnx.eval_shape(lambda: make()[name]))[0]

  # One compilation in place of one for each layer's shape.
  params = jax.jit(
    lambda: {k: nnx.to_pure_dict(nnx.state(v)) for k, v in make().items()}
  )()
  return definition("net"), definition("embed"), params


def _content(
  config: config_lib.Config, data: click_log.Dataset, backbone, mesh: Mesh
):
  """The content table on its servers, and the scaling of features."""
  seen = _seen_images(data)
  if config.image.mode == "features":
    rows = _features(data.image_bytes, data.image_names, backbone)
    of_seen, encoder = rows[seen], None
  else:
    rows = images_lib.decode_all(
      data.image_bytes, data.image_names, size=backbone.image_size
    )
    encoder = jax.tree.map(
      lambda x: mesh_lib.put(mesh, mesh_lib.REPLICATED, np.asarray(x)),
      backbone.params,
    )
    of_seen = _features(
      [data.image_bytes[i] for i in seen],
      [data.image_names[i] for i in seen],
      backbone,
    )
  placed = mesh_lib.put(mesh, mesh_lib.CONTENT, table.to_buckets(rows))
  return train.Content(placed, encoder), embed.standard_of(of_seen)


def _seen_images(data: click_log.Dataset):
  """Training images, thinned out evenly to at most STANDARD_IMAGES."""
  seen = np.union1d(data.train.ad_image, data.train.behaviour_images.values)
  return seen[:: -(-len(seen) // STANDARD_IMAGES)]


def _features(image_bytes, image_names, backbone):
  """Frozen features, cached; says how far it is every few seconds."""
  last = time.monotonic()

  def progress(done: int, total: int):
    nonlocal last
    if time.monotonic() - last > PROGRESS_SECONDS:
      last = time.monotonic()
      _log.info("%s features: %d of %d images", backbone.name, done, total)

  return features.frozen_features(
    image_bytes,
    image_names,
    backbone,
    cache_dir=features.cache_dir(),
    on_progress=progress,
  )


def _routes(data: click_log.Dataset, order, layout, mesh: Mesh):
  """Routes with room for the largest group that the first batches send."""
  servers = mesh.shape[mesh_lib.SERVER]
  sizes = {"ids": 1, "images": 1}
  for step in range(pipeline.PROBED_BATCHES):
    probed = batch_lib.build(
      data.train, order(step), layout, num_devices=mesh.size
    )
    for name, rows, owners in (
      ("ids", probed.id_rows, mesh.size),
      ("images", probed.image_rows, servers),
    ):
      sizes[name] = max(sizes[name], route.largest_group(rows, owners))
  return (
    route.Route(
      name="ids",
      axes=mesh_lib.BOTH,
      owners=mesh.size,
      capacity=sizes["ids"],
      spill=_spill(sizes["ids"]),
    ),
    route.Route(
      name="images",
      axes=(mesh_lib.SERVER,),
      owners=servers,
      capacity=sizes["images"],
      spill=_spill(sizes["images"]),
    ),
  )


def _spill(capacity: int) -> int:
  """Few batches overflow, and by little: an eighth of the first round."""
  return -(-capacity // 8)


def _first_state(seed, program: Program, layout, params, standard):
  """Initial parameters and optimiser slots on their devices."""
  ids = table.init_normal(
    jax.random.key(seed),
    layout.num_rows,
    program.model.id_width,
    stddev=0.05,
    mesh=program.mesh,
    spec=mesh_lib.BATCH,
  )
  state = train.State(
    step=jnp.int32(0),
    ids=ids,
    id_slots=program.sparse.init(ids),
    dense=params,
    dense_slots=program.dense.init(params),
    standard=standard,
  )
  return jax.tree.map(
    lambda x, spec: jax.device_put(
      x, jax.sharding.NamedSharding(program.mesh, spec)
    ),
    state,
    train.state_specs(state),
  )
