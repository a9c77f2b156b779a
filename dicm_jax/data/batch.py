"""Batches: a slice of samples for each device, padded to a common size."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxtyping import Float, Int
import numpy as np

from dicm_jax.data import click_log, device_slice, id_window
from dicm_jax.data import layout as layout_lib
from dicm_jax.data import room as room_lib
from dicm_jax.data.device_slice import EMPTY, Entries, Slice


class Batch(NamedTuple):
  """One batch; every array's first axis is the device."""

  id_rows: Int[np.ndarray, "N U"]
  """Distinct rows of the stacked ID table, ascending, EMPTY at the end. With
  `Layout.ids_windowed` their numbers in `id_window`, in the same order."""
  image_rows: Int[np.ndarray, "N V"]
  """Distinct image rows, ascending, EMPTY at the end."""
  label: Float[np.ndarray, "N b"]
  weight: Float[np.ndarray, "N b"]
  """1 for a sample, 0 for padding of the last batch."""
  inputs: dict[str, Any]
  """The model's inputs: indices into the distinct rows."""
  content_rows: Int[np.ndarray, " W"] | None = None
  """With `Layout.windowed` the image row behind each number in `image_rows`,
  EMPTY at the end; of all devices."""
  content: Any = None
  """Their content, once it lies on the devices."""
  id_window: Int[np.ndarray, " X"] | None = None
  """With `Layout.ids_windowed` the row of the stacked ID table behind each
  number in `id_rows`, EMPTY where there is none; of all devices."""


class Cut(NamedTuple):
  """The slices of a batch before padding."""

  slices: list[Slice]
  windows: dict[str, Int[np.ndarray, " W"]]
  """`content_rows` and `id_window`, as far as the layout asks for them."""

  @property
  def needs(self) -> room_lib.Capacities:
    """Room for each ragged array."""
    needs = room_lib.largest([room_lib.sizes_of(s) for s in self.slices])
    return needs | {name: len(rows) for name, rows in self.windows.items()}


def build(
  log: click_log.ClickLog,
  samples: Int[np.ndarray, " B"],
  layout: layout_lib.Layout,
  *,
  num_devices: int,
  mine: Sequence[int] | None = None,
  capacities: room_lib.Capacities | None = None,
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
  made = cut(
    log, samples, layout, num_devices=num_devices, mine=mine, dropped=dropped
  )
  given = capacities or {}
  room = {
    name: max(given.get(name, 0), room_lib.rung(need))
    for name, need in made.needs.items()
  }
  batch: Batch = _stack([_pad(piece, room, layout) for piece in made.slices])
  windows = {k: _fill(v, room[k], EMPTY) for k, v in made.windows.items()}
  return batch._replace(**windows)


def cut(
  log: click_log.ClickLog,
  samples: Int[np.ndarray, " B"],
  layout: layout_lib.Layout,
  *,
  num_devices: int,
  mine: Sequence[int] | None = None,
  dropped: device_slice.Dropped | None = None,
) -> Cut:
  """Makes the slices of a batch; arguments as `build`."""
  parts = np.split(np.arange(len(samples)), num_devices)
  kept = parts if mine is None else [parts[i] for i in mine]
  lost = dropped or {}
  slices = [
    device_slice.make(
      log, samples[part], layout, {k: v[part] for k, v in lost.items()}
    )
    for part in kept
  ]
  windows = {}
  if layout.windowed:
    rows = device_slice.image_rows(log, samples, layout)
    windows["content_rows"] = rows
    # In order, so that rows come to their owners as they would by their own
    # numbers.
    slices = [
      s._replace(image_rows=np.searchsorted(rows, s.image_rows)) for s in slices
    ]
  if layout.ids_windowed:
    assert len(slices) == num_devices, "one process makes all slices"
    window = id_window.of([s.id_rows for s in slices])
    windows["id_window"] = window.by_number
    slices = [s._replace(id_rows=window.number_of(s.id_rows)) for s in slices]
  return Cut(slices, windows)


def room_of(batch: Batch) -> room_lib.Capacities:
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
  room = {name: array.shape[1] for name, array in arrays.items()}
  windows = {
    "content_rows": batch.content_rows,
    "id_window": batch.id_window,
  }
  return room | {k: len(v) for k, v in windows.items() if v is not None}


def _pad(
  piece: Slice, room: room_lib.Capacities, layout: layout_lib.Layout
) -> Batch:
  """Fills one device's arrays up to the room given."""
  num_samples, num_groups = len(piece.label), room["groups"]
  ad_image = np.zeros(num_samples, np.int32)
  ad_image[: len(piece.ad_image)] = piece.ad_image
  inputs = {
    "ad_ids": {k: v.astype(np.int32) for k, v in piece.ad_ids.items()},
    "ad_lists": _fields(piece, layout.ad_list_fields, room, num_samples),
    "user_ids": _fields(piece, layout.user_fields, room, num_groups),
    "ad_dense": piece.ad_dense,
    "user_dense": _fill(piece.user_dense, num_groups, 0, np.float32),
    "ad_image": ad_image,
    "behaviours": _lists(piece.behaviours, room["behaviours"], num_groups),
    "image_pairs": _pairs(piece.image_pairs, room["image_pairs"], num_samples),
    "id_pairs": _pairs(piece.id_pairs, room["id_pairs"], num_samples),
    "group": piece.group.astype(np.int32),
    "history_length": _fill(piece.history_length, num_groups, 0),
  }
  return Batch(
    id_rows=_fill(piece.id_rows, room["id_rows"], EMPTY),
    image_rows=_fill(piece.image_rows, room["image_rows"], EMPTY),
    label=piece.label,
    weight=piece.weight,
    inputs=inputs,
  )


# Functions of their own, not closures of `_pad`: type checkers of tests compile
# a closure each time that it is made.
def _fill(array, size: int, value, dtype: type = np.int32) -> np.ndarray:
  out = np.full((size, *array.shape[1:]), value, dtype)
  out[: len(array)] = array
  return out


def _fields(piece: Slice, names, room: room_lib.Capacities, num_owners: int):
  return {
    name: _lists(piece.lists[name], room[f"ids.{name}"], num_owners)
    for name in names
  }


def _lists(entries: Entries, size: int, num_owners: int):
  """Values, owners and weights; owners out of range are padding."""
  weight = entries.weight
  return (
    _fill(entries.value, size, 0),
    _fill(entries.owner, size, num_owners),
    None if weight is None else _fill(weight, size, 0, np.float32),
  )


def _pairs(entries: Entries, size: int, num_samples: int):
  return _lists(entries, size, num_samples)[:2]


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
