"""The ledger of a config's step: bytes on the wire, and what else there was.

Table 2 of the DICM paper in kind: the traffic of the compiled step beside its
lower bound, and beside what the two older ways to train with images would
store and move: images kept with the samples (PS-worker), and raw features sent
from servers to workers (PS-server).
"""

from collections.abc import Mapping, Sequence
import dataclasses
import math

from absl import app, flags
import jax
from ml_collections import config_flags
import numpy as np

from dicm_jax import command, config, errors, experiment, optim, train
from dicm_jax.data import batch as batch_lib
from dicm_jax.sharding import ledger, mesh, route

IMAGE_ROWS = ("images.rows", "images.limits")
"""Scopes of what is sent to ask for images. XLA joins both routes' limits into
one all-reduce, a few bytes, which counts here as a whole."""
SCOPES = {
  "ids": ("ids.rows", "ids.limits", *IMAGE_ROWS),
  "image vectors": ("images.vectors", "images.gradients"),
  "id vectors": ("ids.vectors", "ids.gradients"),
  "dense gradients": ("dense.gradients",),
}
"""Parts of the traffic and the named scopes that belong to each."""
FLOAT_BYTES = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ledger:
  """A step's bytes, per device unless said otherwise."""

  wire: Mapping[str, float]
  """Sent by one device in this step, by part."""
  image_wire: float
  """Of it for images: row numbers, vectors and gradients."""
  image_bound: float
  """The least for the same: each distinct image of a worker asked for once,
  its vector sent once and its gradient once."""
  image_rounds: int
  id_rounds: int
  table_bytes: dict[str, int]
  """Held by one device."""
  stored_with_samples: Mapping[str, int]
  """Of the whole mini-batch on all workers, by strategy."""
  moved_in_all: Mapping[str, float]
  """By all devices in this step, by strategy."""


def measure(x: experiment.Experiment, step: int = 0) -> Ledger:
  """Compiles the step and fills the ledger for one batch of training."""
  placed = next(x.batches(step, step + 1))
  batch = jax.tree.map(mesh.gather, placed)
  compiled = (
    train.make_train_step(x.program, x.state)
    .lower(x.state, x.content, placed)
    .compile()
  )
  found = ledger.collectives(
    compiled.as_text() or "", num_devices=x.program.mesh.size
  )
  rounds = {
    "ids.": route.rounds(x.program.id_route, batch.id_rows),
    "images.": route.rounds(x.program.image_route, batch.image_rows),
  }

  def sent(part: ledger.Collective) -> float:
    times = next((n for name, n in rounds.items() if name in part.scope), 1)
    return ledger.wire_bytes([part], "", rounds=times)

  wire = dict.fromkeys([*SCOPES, "the rest"], 0.0)
  for part in found:
    wire[_part_of(part.scope)] += sent(part)
  image_rows = math.fsum(
    sent(part)
    for part in found
    if any(scope in part.scope for scope in IMAGE_ROWS)
  )
  stored, moved = _strategies(x, batch, wire, image_rows)
  return Ledger(
    wire=wire,
    image_wire=wire["image vectors"] + image_rows,
    image_bound=_image_bound(x, batch),
    image_rounds=rounds["images."],
    id_rounds=rounds["ids."],
    table_bytes=table_bytes(x),
    stored_with_samples=stored,
    moved_in_all=moved,
  )


def _part_of(scope: str) -> str:
  """The part of the traffic to which a collective belongs, by its scope."""
  for part, names in SCOPES.items():
    if any(name in scope for name in names):
      return part
  return "the rest"


def table_bytes(x: experiment.Experiment) -> dict[str, int]:
  """Bytes of each table on one device."""
  slots = jax.tree.leaves(x.state.id_slots)
  rows = [leaf for leaf in slots if optim.is_by_row(leaf, x.state.ids)]
  return {
    "ID table": _on_device(x.state.ids),
    "ID optimiser slots": sum(map(_on_device, rows)),
    "image table": sum(map(_on_device, jax.tree.leaves(x.content.table))),
  }


def _on_device(array: jax.Array) -> int:
  return array.addressable_shards[0].data.nbytes


def _image_bound(x: experiment.Experiment, batch: batch_lib.Batch) -> float:
  """Distinct images per worker x (id + vector + gradient), others' part."""
  distinct = float(np.mean(np.sum(batch.image_rows != route.EMPTY, axis=1)))
  owners = x.program.image_route.owners
  model = x.program.model
  numbers = 1 + model.image_vector + model.trained_width
  bytes_an_image = FLOAT_BYTES * numbers
  return distinct * bytes_an_image * (owners - 1) / owners


def _strategies(
  x, batch: batch_lib.Batch, wire: dict[str, float], image_rows: float
):
  """Storage with the samples and traffic of the paper's three strategies.

  All are laid over the same devices: what a device would fetch from its own
  shard does not travel, and a PS-worker asks nobody for images.
  """
  devices, owners = x.program.mesh.size, x.program.image_route.owners
  feature_bytes = FLOAT_BYTES * x.feature_width
  images = _images_with_samples(x, batch)
  ids = FLOAT_BYTES * _ids_with_samples(batch)
  rest = sum(wire.values()) - wire["image vectors"]
  asked = float(np.sum(batch.image_rows != route.EMPTY)) * (owners - 1) / owners
  stored = {
    "PS-worker": ids + images * feature_bytes,
    "PS-server": ids + images * FLOAT_BYTES,
    "AMS": ids + images * FLOAT_BYTES,
  }
  moved = {
    "PS-worker": (rest - image_rows) * devices,
    "PS-server": rest * devices + asked * feature_bytes,
    "AMS": sum(wire.values()) * devices,
  }
  return stored, moved


def _images_with_samples(x, batch: batch_lib.Batch) -> int:
  """Images that a mini-batch names, a group's behaviours counted once."""
  behaviours = int(np.sum(batch.inputs["history_length"]))
  ads = int(np.sum(batch.weight)) if x.layout.ad_images else 0
  return ads + (behaviours if x.layout.behaviour_images else 0)


def _ids_with_samples(batch: batch_lib.Batch) -> int:
  """IDs that a mini-batch names, a group's counted once."""
  num_groups = batch.inputs["history_length"].shape[1]
  num_samples = batch.label.shape[1]

  def entries(lists, num_owners: int) -> int:
    return sum(int(np.sum(x[1] < num_owners)) for x in lists.values())

  return (
    entries(batch.inputs["user_ids"], num_groups)
    + entries(batch.inputs["ad_lists"], num_samples)
    + sum(ids.size for ids in batch.inputs["ad_ids"].values())
  )


def lines(x: experiment.Experiment, made: Ledger) -> Sequence[str]:
  """The ledger as a table for people."""
  shape = "x".join(str(n) for n in x.program.mesh.devices.shape)
  out = [
    f"mesh {shape} ({mesh.WORKER} x {mesh.SERVER}), "
    f"{x.batch_size} samples a step, {x.feature_width} numbers an image, "
    f"rounds: ids {made.id_rounds}, images {made.image_rounds}",
    "",
    "sent by one device in a step, from the compiled HLO     bytes",
  ]
  out += [f"  {part:<48}{size:>11,.0f}" for part, size in made.wire.items()]
  out += [f"  {'all':<48}{sum(made.wire.values()):>11,.0f}"]
  ratio = made.image_wire / made.image_bound if made.image_bound else 1.0
  out += [
    f"  {'images: row numbers, vectors, gradients':<48}"
    f"{made.image_wire:>11,.0f}",
    f"  {'lower bound for the same':<48}{made.image_bound:>11,.0f}"
    f"   x {ratio:.3f}",
    "",
    "held by one device                                       bytes",
  ]
  out += [f"  {k:<48}{size:>11,}" for k, size in made.table_bytes.items()]
  out += [
    "",
    f"one mini-batch, all devices {'stored with samples':>28}{'moved':>16}",
  ]
  out += [
    f"  {name:<26}{made.stored_with_samples[name]:>28,.0f}"
    f"{made.moved_in_all[name]:>16,.0f}"
    for name in made.moved_in_all
  ]
  return out


def check(values: config.Config) -> None:
  """Refuses a config whose step holds no table.

  Raises:
    InputError: its ID rows lie on the host.
  """
  if values.sparse_optimizer.tier != optim.DEVICE:
    raise errors.InputError(
      "sparse_optimizer.tier: the ledger is of a step with 'device', which "
      f"moves the same between devices; found {values.sparse_optimizer.tier!r}"
    )


def run() -> None:
  """Runs the command."""
  files = config_flags.DEFINE_config_file("config", None, "File of configs/.")
  command.define_devices()
  flags.mark_flag_as_required("config")

  def main(argv: list[str]) -> None:
    del argv
    try:
      command.start(flags.FLAGS)
      values = config.from_dict(command.config_values(files))
      check(values)
      x = experiment.build(values)
    except errors.InputError as e:
      command.fail(e)
    print("\n".join(lines(x, measure(x))))

  app.run(main, flags_parser=command.parse_flags)
