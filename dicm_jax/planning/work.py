"""FLOPs of a step on one device, by part."""

from collections.abc import Callable
import dataclasses
import math

from flax import nnx
import jax
import jax.numpy as jnp
import optax

from dicm_jax import capacity, on_mesh, optim
from dicm_jax import config as config_lib
from dicm_jax import state as state_lib
from dicm_jax.model import embed, loss, nets
from dicm_jax.planning import flops
from dicm_jax.planning.shapes import Shapes
from dicm_jax.planning.workload import Workload


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfImages:
  """FLOPs of one image at its owner."""

  encode: float
  """The frozen encoder; 0 where the table holds what the layers take."""
  answer: float
  """From there to the vector that travels."""
  pull_back: float
  """The gradient of the trained layers, the forward pass made anew."""


def of_step(
  config: config_lib.Config, load: Workload, made: Shapes
) -> dict[str, float]:
  """FLOPs of a step in which no route takes a second round.

  The images are those that an owner serves in the mean, in whole chunks; all
  else is done for padding too.
  """
  each, images = of_images(config, made), images_embedded(config, load)
  return {
    "frozen encoder": images * each.encode,
    "trained image layers": images * (each.answer + each.pull_back),
    "CTR network": of_net(config, load, made),
    "sparse optimiser": of_rows(config, made, id_places(load)),
    "dense optimiser": of_dense(config, made),
  }


def id_places(load: Workload) -> int:
  """Rows for which an owner has room in the first round."""
  if load.devices == 1:
    return load.room["id_rows"]
  return load.devices * load.id_group


def image_places(load: Workload) -> int:
  """Images for which an owner has room in the first round."""
  if load.server == 1:
    return load.room["image_rows"]
  return load.server * load.image_group


def images_embedded(config: config_lib.Config, load: Workload) -> int:
  """Images that an owner embeds, the last chunk's padding among them."""
  chunk = min(config.image.chunk, image_places(load))
  return math.ceil(load.served_images / chunk) * chunk


def loops_once(
  config: config_lib.Config, load: Workload, made: Shapes
) -> float:
  """FLOPs as XLA's cost analysis finds them, the body of each loop once.

  Loops are those over an owner's chunks of images, over a net's chunks of
  pairs, and over further rounds, which a step seldom takes; in a further round
  images have a loop of their own.
  """
  each = of_images(config, made)
  chunk = min(config.image.chunk, image_places(load))
  one_chunk = each.encode + each.answer + each.pull_back
  found = chunk * one_chunk + of_net(config, load, made, scans_once=True)
  found += of_rows(config, made, id_places(load)) + of_dense(config, made)
  if load.server > 1:
    spill = load.server * capacity.spill_of(load.image_group)
    # In `pixels` mode a further round is encoded on both ways.
    again = one_chunk + each.encode
    found += min(config.image.chunk, spill) * again
  if load.devices > 1:
    spill = load.devices * capacity.spill_of(load.id_group)
    found += of_rows(config, made, spill)
  return found


def of_images(config: config_lib.Config, made: Shapes) -> OfImages:
  """FLOPs of an image, a chunk's divided by its images."""
  chunk, encoder = config.image.chunk, made.encoder
  titles = config.image.mode == "titles"
  rows = jax.ShapeDtypeStruct(
    (chunk, encoder.width), jnp.int32 if titles else jnp.float32
  )
  params, standard = made.state.dense["embed"], made.state.standard

  def trained(params, standard, rows):
    layers = nnx.merge(made.embed_def, params)
    return layers(embed.taken(standard, rows))

  def answer(params, standard, rows):
    frozen = embed.frozen_head(config.model, standard, rows)
    return trained(params, standard, rows), frozen

  def pull_back(params, standard, rows, gradients):
    _, pull = jax.vjp(lambda p: trained(p, standard, rows), params)
    return pull(gradients)

  arguments = (params, standard, rows)
  trains = config.model.trained_width > 0
  gradients = jax.eval_shape(trained, *arguments)
  return OfImages(
    encode=_of_encoder(made) if config.image.mode == "pixels" else 0.0,
    answer=flops.count(answer, *arguments) / chunk,
    pull_back=flops.count(pull_back, *arguments, gradients) / chunk
    if trains
    else 0.0,
  )


def _of_encoder(made: Shapes) -> float:
  encoder = made.encoder
  assert encoder.apply is not None
  size = encoder.image_size
  picture = jax.ShapeDtypeStruct((1, size, size, 3), jnp.uint8)
  return flops.count(encoder.apply, encoder.params, picture)


def of_net(
  config: config_lib.Config,
  load: Workload,
  made: Shapes,
  *,
  scans_once: bool = False,
) -> float:
  """The CTR network forth and back, with the loss; see `flops.count`."""
  function, arguments = net_loss(config, load, made)
  both = jax.value_and_grad(function, argnums=(0, 1, 2))
  return flops.count(both, *arguments, scans_once=scans_once)


def net_loss(
  config: config_lib.Config, load: Workload, made: Shapes
) -> tuple[Callable, tuple]:
  """A slice's loss, and the shapes of what it depends on."""

  def mean_loss(params, ids, images, batch: state_lib.Batch):
    net = nnx.merge(made.net_def, params)
    heads = nets.heads(net, ids, images, batch.inputs)
    return jnp.mean(batch.weight * loss.of_heads(heads, batch.label))

  batch = jax.eval_shape(on_mesh.my_slice, made.batch)
  ids = (load.room["id_rows"], config.model.id_width)
  images = (load.room["image_rows"], config.model.image_vector)
  params = made.state.dense["net"]
  vectors = (jax.ShapeDtypeStruct(s, jnp.float32) for s in (ids, images))
  return mean_loss, (params, *vectors, batch)


def of_rows(config: config_lib.Config, made: Shapes, places: int) -> float:
  """The update of so many rows of the ID table."""
  # The adaptive penalty needs counts of samples, so it is added by hand.
  plain = dataclasses.replace(config.sparse_optimizer, adaptive_l2=0.0)
  optimizer = optim.make_sparse(plain)
  shape = (places, config.model.id_width)
  rows = jax.ShapeDtypeStruct(shape, made.state.ids.dtype)
  slots = jax.eval_shape(optimizer.init, rows)
  # A product with the strength, one with the row, and a sum.
  penalty = 3.0 * math.prod(shape) if config.sparse_optimizer.adaptive_l2 else 0
  return penalty + flops.count(_updated(optimizer), rows, slots, rows)


def of_dense(config: config_lib.Config, made: Shapes) -> float:
  """The update of all other parameters."""
  optimizer = optim.make_dense(config.dense_optimizer)
  state = made.state
  return flops.count(
    _updated(optimizer), state.dense, state.dense_slots, state.dense
  )


def _updated(optimizer: optax.GradientTransformation) -> Callable:
  def update(gradients, slots, params):
    updates, slots = optimizer.update(gradients, slots, params)
    return optax.apply_updates(params, updates), slots

  return update
