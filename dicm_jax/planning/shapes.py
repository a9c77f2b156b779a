"""A step's arguments as shapes: nothing is allocated, whatever their size."""

import dataclasses
import functools
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jaxtyping import PyTree
import numpy as np

from dicm_jax import capacity, experiment, optim
from dicm_jax import config as config_lib
from dicm_jax import state as state_lib
from dicm_jax.data import batch as batch_lib
from dicm_jax.model import embed
from dicm_jax.optimizers import adaptive_l2
from dicm_jax.planning import encoder as encoder_lib
from dicm_jax.planning.workload import Workload
from dicm_jax.program import Program
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import table

Shape = jax.ShapeDtypeStruct


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Shapes:
  """All that a step takes, over all devices, and the networks in it."""

  state: state_lib.State
  content: state_lib.Content
  batch: batch_lib.Batch
  net_def: nnx.GraphDef
  embed_def: nnx.GraphDef
  encoder: encoder_lib.Encoder


def of_step(
  config: config_lib.Config, load: Workload, encoder: encoder_lib.Encoder
) -> Shapes:
  """The arguments of a config's step on a workload.

  Raises:
    InputError: the model or an optimiser cannot be made.
  """
  net_def, embed_def, first_params = experiment.networks(
    config.seed,
    config.model,
    load.fields,
    _layers(config, encoder),
  )
  return Shapes(
    state=_state(config, load, encoder, jax.eval_shape(first_params)),
    content=_content(config, load, encoder),
    batch=batch(load),
    net_def=net_def,
    embed_def=embed_def,
    encoder=encoder,
  )


def _layers(config: config_lib.Config, encoder: encoder_lib.Encoder):
  """Makes the owners' layers, of `rngs`."""
  if config.image.mode == "titles":
    return functools.partial(embed.title_layers, config.text, config.model)
  return functools.partial(embed.image_layers, encoder.width, config.model)


def program(
  config: config_lib.Config, load: Workload, made: Shapes, mesh: Mesh
) -> Program:
  """The program of such a step, to be compiled on a mesh that is there.

  Args:
    config: without pixels and adaptive L2, which need numbers.
    load: the workload.
    made: its shapes.
    mesh: of as many devices.
  """
  assert config.image.mode != "pixels"
  groups = (load.id_group, load.image_group)
  id_route, image_route = capacity.routes(
    *groups,
    load.worker,
    load.server,
    ragged=config.train.exchange == "ragged",
  )
  return Program(
    mesh=mesh,
    id_route=id_route,
    image_route=image_route,
    model=config.model,
    net_def=made.net_def,
    embed_def=made.embed_def,
    backbone=None,
    image_chunk=config.image.chunk,
    sparse=optim.make_sparse(config.sparse_optimizer),
    dense=optim.make_dense(config.dense_optimizer),
  )


def on_mesh(made: Shapes, mesh: Mesh) -> tuple:
  """State, content and batch with the places where they lie."""

  def lay(shapes: PyTree, specs: PyTree):
    return jax.tree.map(
      lambda x, spec: Shape(
        x.shape, x.dtype, sharding=NamedSharding(mesh, spec)
      ),
      shapes,
      specs,
    )

  def everywhere(shapes: PyTree, spec) -> PyTree:
    return jax.tree.map(lambda _: spec, shapes)

  content = state_lib.Content(
    mesh_lib.CONTENT, everywhere(made.content.encoder, mesh_lib.REPLICATED)
  )
  return (
    lay(made.state, state_lib.specs_of(made.state)),
    lay(made.content, content),
    lay(made.batch, everywhere(made.batch, mesh_lib.BATCH)),
  )


def _state(config, load: Workload, encoder, params) -> state_lib.State:
  slots = table.slots(load.id_rows_there)
  ids = _floats(table.BUCKETS, slots, config.model.id_width)
  dense = optim.make_dense(config.dense_optimizer)
  return state_lib.State(
    step=_ints(),
    ids=ids,
    id_slots=_id_slots(config.sparse_optimizer, ids),
    dense=params,
    dense_slots=jax.eval_shape(dense.init, params),
    standard=_standard(config, encoder.width),
  )


def _id_slots(config: optim.SparseConfig, ids) -> PyTree:
  """Slots of the ID table's optimiser."""
  without = dataclasses.replace(config, adaptive_l2=0.0)
  slots = jax.eval_shape(optim.make_sparse(without).init, ids)
  if not config.adaptive_l2:
    return slots
  # Its counts are laid where the table lies, and shapes lie nowhere.
  counts = adaptive_l2.State(_floats(*ids.shape[:-1], 1))
  return counts, slots


def _standard(config: config_lib.Config, width: int) -> embed.Standard | None:
  if config.image.mode == "titles":
    return None
  model = config.model
  whitened = model.frozen_width > 0 and not model.stored
  whiten = _floats(width, model.frozen_width) if whitened else None
  return embed.Standard(_floats(width), _floats(width), whiten)


def _content(config, load: Workload, encoder) -> state_lib.Content:
  lead = (table.BUCKETS, table.slots(load.image_rows_there))
  if config.image.mode == "titles":
    return state_lib.Content(_ints(*lead, encoder.width), None)
  if config.image.mode == "features":
    rows: Any = Shape((*lead, encoder.width), jnp.dtype(config.image.dtype))
    return state_lib.Content(rows, None)
  side = encoder.image_size
  pixels: Any = Shape((*lead, side, side, 3), jnp.uint8)
  return state_lib.Content(pixels, encoder.params)


def batch(load: Workload) -> batch_lib.Batch:
  """A batch, as `data.batch.build` would make it."""
  devices, fields, room = load.devices, load.fields, load.room
  samples, groups = load.batch_size // devices, room["groups"]

  def lists(name: str) -> tuple:
    size = room[f"ids.{name}"]
    weight = _floats(devices, size) if name in load.weighted else None
    return _ints(devices, size), _ints(devices, size), weight

  def pairs(name: str) -> tuple:
    return _ints(devices, room[name]), _ints(devices, room[name])

  each_sample = _ints(devices, samples)
  return batch_lib.Batch(
    id_rows=_ints(devices, room["id_rows"]),
    image_rows=_ints(devices, room["image_rows"]),
    label=_floats(devices, samples),
    weight=_floats(devices, samples),
    inputs={
      "ad_ids": dict.fromkeys(fields.ad, each_sample),
      "ad_lists": {name: lists(name) for name in fields.ad_lists},
      "user_ids": {name: lists(name) for name in fields.user},
      "ad_dense": _floats(devices, samples, fields.ad_dense),
      "user_dense": _floats(devices, groups, fields.user_dense),
      "ad_image": each_sample,
      "behaviours": (*pairs("behaviours"), None),
      "image_pairs": pairs("image_pairs"),
      "id_pairs": pairs("id_pairs"),
      "group": each_sample,
      "history_length": _ints(devices, groups),
    },
  )


def _floats(*shape: int) -> Any:  # It stands where an array will.
  return Shape(shape, np.float32)


def _ints(*shape: int) -> Any:
  return Shape(shape, np.int32)


def num_bytes(tree: PyTree) -> int:
  """Bytes of all arrays of a tree together."""
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))
