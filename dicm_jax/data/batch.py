"""Batches: a slice of samples for each device, padded to a common size.

All arrays have fixed sizes from a short ladder, so that the step is compiled
few times.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxtyping import Float, Int
import numpy as np

from dicm_jax.data import click_log, device_slice
from dicm_jax.data import layout as layout_lib

Capacities = dict[str, int]
"""Room for each ragged array of a batch, by the array's name."""


class Batch(NamedTuple):
  """One batch; every array's first axis is the device."""

  id_rows: Int[np.ndarray, "N U"]
  """Distinct rows of the stacked ID table, ascending, EMPTY at the end."""
  image_rows: Int[np.ndarray, "N V"]
  """Distinct image rows, ascending, EMPTY at the end."""
  label: Float[np.ndarray, "N b"]
  weight: Float[np.ndarray, "N b"]
  """1 for a sample, 0 for padding of the last batch."""
  inputs: dict[str, Any]
  """The model's inputs: indices into the distinct rows."""


def rung(size: int, *, least: int = 16) -> int:
  """Smallest of 16, 20, 24, 28, 32, 40, 48, ... that is >= size.

  Four rungs an octave: at most a fifth of the room is left empty, and a
  doubling of what a batch needs costs four compilations.

  >>> [rung(n) for n in (0, 17, 33, 1000, 1025)]
  [16, 20, 40, 1024, 1280]
  """
  if size <= least:
    return least
  step = 1 << max((size - 1).bit_length() - 3, 0)
  return -(-size // step) * step


def build(
  log: click_log.ClickLog,
  samples: Int[np.ndarray, " B"],
  layout: layout_lib.Layout,
  *,
  num_devices: int,
  mine: Sequence[int] | None = None,
  capacities: Capacities | None = None,
  dropped: device_slice.Dropped | None = None,
) -> Batch:
  """Makes the batch of the given samples.

  Args:
    log: the split.
    samples: sample numbers, those of a group side by side; EMPTY pads.
    layout: what to hold.
    num_devices: devices over which the batch is cut; B must be a multiple.
    mine: the N devices whose slices to make; None makes all.
    capacities: room to give at least; what needs more gets the next rung.
    dropped: of fields with one id a sample; None: nothing.
  """
  parts = np.split(np.arange(len(samples)), num_devices)
  kept = parts if mine is None else [parts[i] for i in mine]
  lost = dropped or {}
  slices = [
    device_slice.make(
      log, samples[part], layout, {k: v[part] for k, v in lost.items()}
    )
    for part in kept
  ]
  needs = _measure(slices)
  room = {
    name: max((capacities or {}).get(name, 0), rung(need))
    for name, need in needs.items()
  }
  return _stack([_pad(piece, room, layout) for piece in slices])


def room_of(batch: Batch) -> Capacities:
  """The room that a batch's ragged arrays were given."""
  inputs = batch.inputs
  fields = inputs["user_ids"] | inputs["ad_lists"]
  arrays = {f"ids.{name}": value for name, (value, *_) in fields.items()} | {
    "id_rows": batch.id_rows,
    "image_rows": batch.image_rows,
    "groups": inputs["history_length"],
    "behaviours": inputs["behaviours"][0],
    "image_pairs": inputs["image_pairs"][0],
    "id_pairs": inputs["id_pairs"][0],
  }
  return {name: array.shape[1] for name, array in arrays.items()}


def probe(
  log: click_log.ClickLog,
  batches: Sequence[Int[np.ndarray, " B"]],
  layout: layout_lib.Layout,
  *,
  num_devices: int,
) -> Capacities:
  """Room that the given batches need, with 5 % to spare."""
  most: Capacities = {}
  for samples in batches:
    parts = np.split(samples, num_devices)
    needs = _measure(
      [device_slice.make(log, part, layout, {}) for part in parts]
    )
    most = {k: max(n, most.get(k, 0)) for k, n in needs.items()}
  return {name: rung(int(need * 1.05)) for name, need in most.items()}


def _measure(slices: Sequence[device_slice.Slice]) -> Capacities:
  """Largest size of each ragged array over the devices."""

  def sizes(piece: device_slice.Slice) -> Capacities:
    fields = {f"ids.{k}": len(v.value) for k, v in piece.lists.items()}
    return fields | {
      "id_rows": len(piece.id_rows),
      "image_rows": len(piece.image_rows),
      "groups": len(piece.history_length),
      "behaviours": len(piece.behaviours.value),
      "image_pairs": len(piece.image_pairs.value),
      "id_pairs": len(piece.id_pairs.value),
    }

  each = [sizes(piece) for piece in slices]
  return {name: max(size[name] for size in each) for name in each[0]}


def _pad(
  piece: device_slice.Slice, room: Capacities, layout: layout_lib.Layout
) -> Batch:
  """Fills one device's arrays up to the room given."""
  num_samples, num_groups = len(piece.label), room["groups"]

  def fill(array, name, value, dtype: type = np.int32):
    out = np.full((room[name], *array.shape[1:]), value, dtype)
    out[: len(array)] = array
    return out

  def lists(entries: device_slice.Entries, name, num_owners):
    weight = entries.weight
    return (
      fill(entries.value, name, 0),
      fill(entries.owner, name, num_owners),
      None if weight is None else fill(weight, name, 0, np.float32),
    )

  def fields(names, num_owners):
    return {k: lists(piece.lists[k], f"ids.{k}", num_owners) for k in names}

  def pairs(entries: device_slice.Entries, name):
    return (
      fill(entries.value, name, 0),
      fill(entries.owner, name, num_samples),
    )

  ad_image = np.zeros(num_samples, np.int32)
  ad_image[: len(piece.ad_image)] = piece.ad_image
  inputs = {
    "ad_ids": {k: v.astype(np.int32) for k, v in piece.ad_ids.items()},
    "ad_lists": fields(layout.ad_list_fields, num_samples),
    "user_ids": fields(layout.user_fields, num_groups),
    "ad_dense": piece.ad_dense,
    "user_dense": fill(piece.user_dense, "groups", 0, np.float32),
    "ad_image": ad_image,
    "behaviours": lists(piece.behaviours, "behaviours", num_groups),
    "image_pairs": pairs(piece.image_pairs, "image_pairs"),
    "id_pairs": pairs(piece.id_pairs, "id_pairs"),
    "group": piece.group.astype(np.int32),
    "history_length": fill(piece.history_length, "groups", 0),
  }
  return Batch(
    id_rows=fill(piece.id_rows, "id_rows", device_slice.EMPTY),
    image_rows=fill(piece.image_rows, "image_rows", device_slice.EMPTY),
    label=piece.label,
    weight=piece.weight,
    inputs=inputs,
  )


def _stack(parts: Sequence[Any]) -> Any:
  """Joins equal trees of arrays along a new first axis, the device."""
  first = parts[0]
  if first is None:
    return None
  if isinstance(first, np.ndarray):
    return np.stack(parts)
  if isinstance(first, dict):
    return {key: _stack([part[key] for part in parts]) for key in first}
  joined = [_stack(entries) for entries in zip(*parts, strict=True)]
  return type(first)(*joined) if hasattr(first, "_fields") else tuple(joined)
