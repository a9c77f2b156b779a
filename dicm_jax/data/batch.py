"""Batches: a slice of samples for each device, in terms of its distinct rows.

Each device's slice is reduced to its distinct ID rows and image rows and to
indices into them (worker-level dedup), here, ahead of the step, where NumPy
sorts ten times faster than XLA on a CPU. Lists of different length lie end to
end with the group of each entry. All arrays have fixed sizes from a short
ladder, so that the step is compiled few times.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, NamedTuple

from jaxtyping import Bool, Float, Int
import numpy as np

from dicm_jax.data import click_log

EMPTY = -1
UNKNOWN = 0
"""Row of an unknown id in every field's table."""

Capacities = dict[str, int]
"""Room for each ragged array of a batch, by the array's name."""

Dropped = Mapping[str, Bool[np.ndarray, " B"]]
"""By ID field: the samples of a batch whose id counts as unknown."""


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
  """What a batch holds, and where each feature's rows start in the stack."""

  features: tuple[click_log.Feature, ...]
  ad_images: bool
  """Whether the ads' images are asked for."""
  behaviour_images: bool
  """Whether the behaviours' images are asked for."""
  past_ids: bool = False
  """Whether samples are paired with the past clicks of their groups."""

  @property
  def offsets(self) -> dict[str, int]:
    """First row of each feature in the stacked table."""
    ends = np.cumsum([f.rows for f in self.features]).tolist()
    starts = [0, *ends[:-1]]
    return {f.name: s for f, s in zip(self.features, starts, strict=True)}

  @property
  def num_rows(self) -> int:
    """Rows of the stacked table."""
    return sum(f.rows for f in self.features)

  @property
  def user_fields(self) -> tuple[str, ...]:
    return tuple(f.name for f in self.features if f.side == "user")

  @property
  def past_fields(self) -> tuple[tuple[str, str], ...]:
    """User fields of past clicks, each with the ads' field it is of."""
    return tuple((f.name, f.past_of) for f in self.features if f.past_of)

  @property
  def context_fields(self) -> tuple[str, ...]:
    """Fields of the ad side that are not of the ad itself."""
    return tuple(f.name for f in self.features if f.context)

  @property
  def ad_fields(self) -> tuple[str, ...]:
    """Fields with one id a sample."""
    return self._ad(lists=False)

  @property
  def ad_list_fields(self) -> tuple[str, ...]:
    """Fields with any number of ids a sample."""
    return self._ad(lists=True)

  def _ad(self, *, lists: bool) -> tuple[str, ...]:
    return tuple(
      f.name for f in self.features if f.side == "ad" and f.lists == lists
    )


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
  layout: Layout,
  *,
  num_devices: int,
  mine: Sequence[int] | None = None,
  capacities: Capacities | None = None,
  dropped: Dropped | None = None,
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
    _slice(log, samples[part], layout, {k: v[part] for k, v in lost.items()})
    for part in kept
  ]
  needs = measure(slices)
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
  layout: Layout,
  *,
  num_devices: int,
) -> Capacities:
  """Room that the given batches need, with 5 % to spare."""
  most: Capacities = {}
  for samples in batches:
    parts = np.split(samples, num_devices)
    needs = measure([_slice(log, part, layout, {}) for part in parts])
    most = {k: max(n, most.get(k, 0)) for k, n in needs.items()}
  return {name: rung(int(need * 1.05)) for name, need in most.items()}


class _Entries(NamedTuple):
  """Lists end to end."""

  value: Int[np.ndarray, " P"]
  owner: Int[np.ndarray, " P"]
  """Group or sample of each entry."""
  weight: Float[np.ndarray, " P"] | None
  """None: all 1."""


class _Slice(NamedTuple):
  """One device's samples before padding."""

  id_rows: np.ndarray
  image_rows: np.ndarray
  label: np.ndarray
  weight: np.ndarray
  group: np.ndarray
  ad_ids: dict[str, np.ndarray]
  lists: dict[str, _Entries]
  """Lists of rows, of the user side by group, of the ad side by sample."""
  ad_image: np.ndarray
  behaviours: _Entries
  image_pairs: _Entries
  id_pairs: _Entries
  history_length: np.ndarray
  user_dense: np.ndarray
  ad_dense: np.ndarray


def measure(slices: Sequence[_Slice]) -> Capacities:
  """Largest size of each ragged array over the devices."""

  def sizes(piece: _Slice) -> Capacities:
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


def _slice(
  log: click_log.ClickLog, samples, layout: Layout, dropped: Dropped
) -> _Slice:
  """One device's samples, their groups and their distinct rows."""
  weight = (samples != EMPTY).astype(np.float32)
  samples = np.maximum(samples, 0)
  groups, group = _runs(log.group[samples])
  ad_ids = {
    name: _known(log.ad_ids[name][samples], dropped.get(name))
    + layout.offsets[name]
    for name in layout.ad_fields
  }
  lists = {
    name: _take(log.user_ids[name], groups, layout.offsets[name])
    for name in layout.user_fields
  } | {
    name: _take(log.ad_lists[name], samples, layout.offsets[name])
    for name in layout.ad_list_fields
  }
  id_rows, ad_ids, lists = _distinct_ids(ad_ids, lists)
  history = _take(log.behaviour_images, groups, 0)
  lengths = np.bincount(history.owner, minlength=len(groups))
  image_rows, ad_image, behaviours = _distinct_images(
    log.ad_image[samples], history, layout
  )
  return _Slice(
    id_rows=id_rows,
    image_rows=image_rows,
    label=log.label[samples].astype(np.float32),
    weight=weight,
    group=group,
    ad_ids=ad_ids,
    lists=lists,
    ad_image=ad_image,
    behaviours=behaviours,
    image_pairs=_pairs(lengths, group, wanted=layout.behaviour_images),
    id_pairs=_pairs(
      _num_past(log, groups, layout), group, wanted=layout.past_ids
    ),
    history_length=lengths,
    user_dense=_dense(log.user_dense, groups),
    ad_dense=_dense(log.ad_dense, samples),
  )


def _known(ids, dropped):
  """The ids, the unknown one in place of those that are dropped."""
  return ids if dropped is None else np.where(dropped, UNKNOWN, ids)


def _dense(numbers: np.ndarray | None, keep) -> np.ndarray:
  if numbers is None:
    return np.zeros((len(keep), 0), np.float32)
  return numbers[keep]


def _runs(group):
  """Groups in order of appearance and each sample's index among them."""
  starts = np.flatnonzero(np.diff(group, prepend=group[0] - 1))
  index = np.zeros(len(group), np.int64)
  index[starts[1:]] = 1
  return group[starts], np.cumsum(index)


def _take(lists: click_log.Jagged, keep, offset) -> _Entries:
  """Values of the given lists end to end, and which list each is from."""
  lengths = lists.lengths[keep]
  owner = np.repeat(np.arange(len(keep)), lengths)
  first = np.cumsum(lengths) - lengths
  within = np.arange(lengths.sum()) - first[owner]
  places = lists.offsets[keep][owner] + within
  weight = None if lists.weights is None else lists.weights[places]
  return _Entries(lists.values[places] + offset, owner, weight)


def _distinct_ids(ad_ids, lists: dict[str, _Entries]):
  """Joins all ID fields' rows into one list of distinct ones."""
  arrays = [*ad_ids.values(), *(entries.value for entries in lists.values())]
  rows, index = np.unique(np.concatenate(arrays), return_inverse=True)
  pieces = np.split(index, np.cumsum([len(a) for a in arrays])[:-1])
  ad = dict(zip(ad_ids, pieces, strict=False))
  placed = {
    name: entries._replace(value=piece)
    for (name, entries), piece in zip(
      lists.items(), pieces[len(ad_ids) :], strict=True
    )
  }
  return rows, ad, placed


def _distinct_images(ad_image, history: _Entries, layout: Layout):
  """Distinct images of those fields that the model looks at."""
  if not layout.ad_images:
    ad_image = ad_image[:0]
  if not layout.behaviour_images:
    history = _Entries(history.value[:0], history.owner[:0], None)
  rows, index = np.unique(
    np.concatenate([ad_image, history.value]), return_inverse=True
  )
  ad, of_behaviours = np.split(index, [len(ad_image)])
  return rows, ad, history._replace(value=of_behaviours)


def _num_past(log: click_log.ClickLog, groups, layout: Layout):
  """Past clicks of each group, by any of the fields that list them."""
  if not layout.past_ids:
    return np.zeros(len(groups), np.int64)
  name, _ = layout.past_fields[0]
  return log.user_ids[name].lengths[groups]


def _pairs(lengths, group, *, wanted: bool):
  """All (entry, sample) pairs of the samples' histories."""
  if not wanted:
    return _Entries(np.zeros(0, np.int64), np.zeros(0, np.int64), None)
  everything = click_log.Jagged(
    np.arange(lengths.sum()), np.concatenate([[0], np.cumsum(lengths)])
  )
  return _take(everything, group, 0)


def _pad(piece: _Slice, room: Capacities, layout: Layout) -> Batch:
  """Fills one device's arrays up to the room given."""
  num_samples, num_groups = len(piece.label), room["groups"]

  def fill(array, name, value, dtype: type = np.int32):
    out = np.full((room[name], *array.shape[1:]), value, dtype)
    out[: len(array)] = array
    return out

  def lists(entries: _Entries, name, num_owners):
    weight = entries.weight
    return (
      fill(entries.value, name, 0),
      fill(entries.owner, name, num_owners),
      None if weight is None else fill(weight, name, 0, np.float32),
    )

  def fields(names, num_owners):
    return {k: lists(piece.lists[k], f"ids.{k}", num_owners) for k in names}

  def pairs(entries: _Entries, name):
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
    id_rows=fill(piece.id_rows, "id_rows", EMPTY),
    image_rows=fill(piece.image_rows, "image_rows", EMPTY),
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
