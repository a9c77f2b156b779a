"""Bytes on one device, by part."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import optax

from dicm_jax import config as config_lib
from dicm_jax import content, optim
from dicm_jax import state as state_lib
from dicm_jax.model import text_cnn
from dicm_jax.planning import shapes, work
from dicm_jax.planning.shapes import Shapes
from dicm_jax.planning.workload import Workload
from dicm_jax.sharding import table

FLOAT_BYTES = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
  """What one device holds."""

  parts: dict[str, float]
  """By part: tables, parameters and the batch, to the byte."""
  activations: float
  """An estimate of what a step needs besides."""
  ahead: float
  """The next batch, and rows that the host brings up with it."""
  host: dict[str, float]
  """Tables that lie in the hosts' memory, all hosts together."""

  @property
  def arguments(self) -> float:
    """All that goes into a step."""
    return sum(self.parts.values())

  @property
  def total(self) -> float:
    return self.arguments + self.activations + self.ahead


def of_step(config: config_lib.Config, load: Workload, made: Shapes) -> Memory:
  """What a device holds while a step runs; the state is updated in place."""
  state, content = made.state, made.content
  of_rows, of_table = _slots(state.id_slots, state.ids)
  replicated = (state.dense_slots, of_table, state.standard, state.step)
  parts = {
    "ID table": shapes.num_bytes(state.ids) / load.devices,
    "ID optimiser slots": shapes.num_bytes(of_rows) / load.devices,
    "image table": shapes.num_bytes(content.table) / load.server,
    "frozen encoder": shapes.num_bytes(content.encoder),
    "dense parameters": shapes.num_bytes(state.dense),
    "dense slots, scaling": shapes.num_bytes(replicated),
    "batch": shapes.num_bytes(made.batch) / load.devices,
  }
  brought = brought_up(config, load, made)
  return Memory(
    parts={name: float(size) for name, size in parts.items()},
    activations=float(_activations(config, load, made)),
    ahead=parts["batch"] + sum(brought.values()),
    host=_on_host(load, made, brought),
  )


def brought_up(
  config: config_lib.Config, load: Workload, made: Shapes
) -> dict[str, float]:
  """Bytes of rows that the host brings up to a device for a step, by table."""
  state, found = made.state, {}
  if config.sparse_optimizer.tier == optim.HOST:
    rows = state_lib.rows_of(state)
    found["ID table and slots"] = shapes.num_bytes(rows) / load.devices
  if config.image.tier != content.DEVICE:
    rows = made.content.table
    found["image table"] = shapes.num_bytes(rows) / load.server
  return found


def _on_host(
  load: Workload, made: Shapes, brought: dict[str, float]
) -> dict[str, float]:
  """Bytes of whole tables of which a step's rows are brought up."""
  content_rows = math.prod(made.content.table.shape[:2])
  all_over_some = {
    # Its rows lie in buckets there as well.
    "ID table and slots": table.slots(load.id_rows) / made.state.ids.shape[1],
    "image table": load.image_rows / content_rows,
  }
  devices = {"ID table and slots": load.devices, "image table": load.server}
  return {
    name: size * devices[name] * all_over_some[name]
    for name, size in brought.items()
  }


def _slots(slots: optax.OptState, ids) -> tuple[list, list]:
  """Leaves of the ID optimiser: those of rows, and those of the whole table."""
  leaves = jax.tree.leaves(slots)
  of_rows = [leaf for leaf in leaves if optim.is_by_row(leaf, ids)]
  return of_rows, [leaf for leaf in leaves if not optim.is_by_row(leaf, ids)]


def _activations(
  config: config_lib.Config, load: Workload, made: Shapes
) -> int:
  """The larger of what the way back and what the dense update take at a time.

  The way back: what the net keeps for it, one more array like the largest
  kept, a chunk of images, the vectors and gradients of rows on both sides, and
  the dense gradients. Sharing of memory between them is left to the compiler,
  so this is an estimate.
  """
  kept = residuals(config, load, made)
  largest = max((shapes.num_bytes(leaf) for leaf in kept), default=0)
  model, room = config.model, load.room
  hidden = sum(model.image_widths) * (2 if model.separate else 1)
  chunk = min(config.image.chunk, work.image_places(load))
  if config.image.mode == "titles":
    hidden = made.encoder.width * text_cnn.NUMBERS_A_WORD
  numbers = chunk * (made.encoder.width + hidden)
  ids = room["id_rows"] + work.id_places(load)
  images = room["image_rows"] + work.image_places(load)
  numbers += 2 * ids * model.id_width + 2 * images * model.image_vector
  gradients = shapes.num_bytes(made.state.dense)
  made_here = _features(config, load, made)
  beside = FLOAT_BYTES * numbers + gradients
  way_back = shapes.num_bytes(kept) + largest + beside
  return made_here + max(way_back, _dense_update(made))


def _dense_update(made: Shapes) -> int:
  """Bytes of the gradients, new parameters and slots, laid end to end as well.

  `guard.is_finite` looks at them so before they take the old ones' place.
  """
  parameters = shapes.num_bytes(made.state.dense)
  slots = shapes.num_bytes(made.state.dense_slots)
  return 2 * (2 * parameters + slots)


def _features(config: config_lib.Config, load: Workload, made: Shapes) -> int:
  """Bytes of features that the step itself makes, kept for the way back.

  With those of the next batch, where they are made ahead.
  """
  if config.image.mode != "pixels":
    return 0
  places = work.image_places(load)
  chunk = min(config.image.chunk, places)
  places = math.ceil(places / chunk) * chunk
  size = jnp.dtype(config.image.dtype).itemsize
  batches = 2 if config.train.ahead else 1
  return batches * places * made.encoder.width * size


def residuals(config: config_lib.Config, load: Workload, made: Shapes) -> list:
  """Arrays that the CTR network keeps of the way forth for the way back."""
  function, arguments = work.net_loss(config, load, made)

  def kept(params, ids, images, batch):
    _, pull = jax.vjp(lambda *x: function(*x, batch), params, ids, images)
    return pull

  return jax.tree.leaves(jax.eval_shape(kept, *arguments))
