"""Batches read back to what the log says, sample by sample, in plain Python."""

import jax
import numpy as np
import pytest

from dicm_jax.data import batch, click_log, device_slice, pipeline, room
from dicm_jax.data import layout as layout_lib
from tests import toy

LOG = toy.dataset().train
FEATURES = toy.dataset().features
SAMPLES = np.arange(24, 88)


def layout_of(*, ads=True, behaviours=True):
  return layout_lib.Layout(
    features=FEATURES, ad_images=ads, behaviour_images=behaviours
  )


LAYOUT = layout_of()


def values_of(jagged, group):
  start, end = jagged.offsets[group], jagged.offsets[group + 1]
  return jagged.values[start:end].tolist()


def stacked(name, ids):
  """Rows of the ids in the stack: those of earlier features come before."""
  before = 0
  for feature in FEATURES:
    if feature.name == name:
      return [before + i for i in ids]
    before += feature.rows
  raise KeyError(name)


def weighted(values, jagged, i):
  start, end = jagged.offsets[i], jagged.offsets[i + 1]
  return list(zip(values, jagged.weights[start:end].tolist(), strict=True))


def from_log(sample, layout):
  """All that a batch has to say of a sample, looked up in the log."""
  group = int(LOG.group[sample])
  behaviours = values_of(LOG.behaviour_images, group)
  return {
    "label": float(LOG.label[sample]),
    "ad": {n: stacked(n, [ids[sample]]) for n, ids in LOG.ad_ids.items()},
    "user": {
      name: stacked(name, values_of(lists, group))
      for name, lists in LOG.user_ids.items()
    },
    "ad_lists": {
      name: weighted(stacked(name, values_of(lists, sample)), lists, sample)
      for name, lists in LOG.ad_lists.items()
    },
    "dense": [LOG.user_dense[group].tolist(), LOG.ad_dense[sample].tolist()],
    "ad_image": int(LOG.ad_image[sample]) if layout.ad_images else None,
    "behaviours": behaviours if layout.behaviour_images else [],
    "pairs": behaviours if layout.behaviour_images else [],
    "history_length": len(behaviours),
  }


def from_batch(made, layout):
  """The same of all samples, read back from the batch's own arrays."""
  devices, size = made.label.shape
  return [
    _one_from_batch(jax.tree.map(lambda x, d=d: x[d].tolist(), made), i, layout)
    for d in range(devices)
    for i in range(size)
  ]


def _one_from_batch(made, i, layout):
  inputs, ids, images = made.inputs, made.id_rows, made.image_rows
  group = inputs["group"][i]

  def of_group(lists, rows):
    entries = zip(*lists[:2], strict=True)
    return [rows[place] for place, owner in entries if owner == group]

  def of_sample(lists):
    entries = zip(*lists, strict=True)
    return [
      (ids[place], weight) for place, owner, weight in entries if owner == i
    ]

  behaviours, *_ = inputs["behaviours"]
  pairs = zip(*inputs["image_pairs"], strict=True)
  return {
    "label": made.label[i],
    "ad": {n: [ids[place[i]]] for n, place in inputs["ad_ids"].items()},
    "user": {n: of_group(x, ids) for n, x in inputs["user_ids"].items()},
    "ad_lists": {n: of_sample(x) for n, x in inputs["ad_lists"].items()},
    "dense": [inputs["user_dense"][group], inputs["ad_dense"][i]],
    "ad_image": images[inputs["ad_image"][i]] if layout.ad_images else None,
    "behaviours": of_group(inputs["behaviours"], images),
    "pairs": [images[behaviours[b]] for b, sample in pairs if sample == i],
    "history_length": inputs["history_length"][group],
  }


def build(samples, layout=LAYOUT, devices=1, capacities=None):
  return batch.build(
    LOG, samples, layout, num_devices=devices, capacities=capacities
  )


def shapes(tree):
  return [leaf.shape for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_slices_hold_the_samples_of_the_log_in_order(devices):
  made = build(SAMPLES, devices=devices)
  assert made.label.shape == (devices, len(SAMPLES) // devices)
  found = from_batch(made, LAYOUT)
  assert found == [from_log(s, LAYOUT) for s in SAMPLES]


@pytest.mark.parametrize("ads", [True, False])
@pytest.mark.parametrize("behaviours", [True, False])
def test_only_images_asked_for_are_there(ads, behaviours):
  layout = layout_of(ads=ads, behaviours=behaviours)
  made = build(SAMPLES, layout, devices=2)
  expected = [from_log(s, layout) for s in SAMPLES]
  assert from_batch(made, layout) == expected
  for device, part in enumerate(np.split(np.arange(len(SAMPLES)), 2)):
    asked = {x for i in part for x in expected[i]["behaviours"]}
    if ads:
      asked |= {expected[i]["ad_image"] for i in part}
    rows = made.image_rows[device]
    assert rows[rows != device_slice.EMPTY].tolist() == sorted(asked)


def test_distinct_rows_ascend_and_empty_stands_at_the_end():
  made = build(SAMPLES, devices=4)
  expected = [from_log(s, LAYOUT) for s in SAMPLES]
  for device, part in enumerate(np.split(np.arange(len(SAMPLES)), 4)):
    asked = set()
    for i in part:
      for rows in [*expected[i]["ad"].values(), *expected[i]["user"].values()]:
        asked |= set(rows)
      for rows in expected[i]["ad_lists"].values():
        asked |= {row for row, _ in rows}
    padding = [device_slice.EMPTY] * (made.id_rows.shape[1] - len(asked))
    assert made.id_rows[device].tolist() == sorted(asked) + padding


def test_padding_samples_weigh_nothing_and_change_no_other():
  padded = np.concatenate([SAMPLES[:13], np.full(19, device_slice.EMPTY)])
  made = build(padded, devices=4)
  weight = made.weight.reshape(-1)
  assert weight.tolist() == [1.0] * 13 + [0.0] * 19
  found = from_batch(made, LAYOUT)[:13]
  assert found == [from_log(s, LAYOUT) for s in SAMPLES[:13]]


def test_padding_entries_point_out_of_range():
  made = build(SAMPLES, devices=2)
  inputs = made.inputs
  num_groups = inputs["history_length"].shape[1]
  lists = [*inputs["user_ids"].values(), inputs["behaviours"]]
  for device, samples in enumerate(np.split(SAMPLES, 2)):
    groups = sorted(set(LOG.group[samples].tolist()))
    for owners, log_lists in zip(
      [owner[device].tolist() for _, owner, _ in lists],
      [*LOG.user_ids.values(), LOG.behaviour_images],
      strict=True,
    ):
      lengths = [len(values_of(log_lists, g)) for g in groups]
      real = [i for i, n in enumerate(lengths) for _ in range(n)]
      assert owners == real + [num_groups] * (len(owners) - len(real))
    pairs = inputs["image_pairs"][1][device].tolist()
    real = [
      i
      for i, s in enumerate(samples)
      for _ in values_of(LOG.behaviour_images, LOG.group[s])
    ]
    assert pairs == real + [len(samples)] * (len(pairs) - len(real))
    assert (inputs["history_length"][device, len(groups) :] == 0).all()


def test_group_cut_by_a_slice_border_is_whole_on_both_sides():
  group = int(np.flatnonzero(np.bincount(LOG.group)[1:] == 4)[0]) + 1
  first = int(np.flatnonzero(LOG.group == group)[0])
  samples = np.arange(first - 1, first + 5)  # A neighbour on either side.
  made = build(samples, devices=2)
  assert from_batch(made, LAYOUT) == [from_log(s, LAYOUT) for s in samples]
  assert made.inputs["group"][1, 0] == 0


def test_group_that_comes_twice_apart_keeps_its_lists():
  one = np.flatnonzero(LOG.group == 3)
  other = np.flatnonzero(LOG.group == 5)
  samples = np.concatenate([one, other, one])
  made = build(samples)
  assert from_batch(made, LAYOUT) == [from_log(s, LAYOUT) for s in samples]


def test_samples_without_any_history():
  empty = np.flatnonzero(LOG.behaviour_images.lengths[LOG.group] == 0)[:8]
  made = build(empty, devices=2)
  assert from_batch(made, LAYOUT) == [from_log(s, LAYOUT) for s in empty]
  assert (made.inputs["history_length"] == 0).all()
  assert (made.inputs["image_pairs"][1] == 4).all()
  nothing = build(empty, layout_of(ads=False), devices=2)
  assert (nothing.image_rows == device_slice.EMPTY).all()


def test_offsets_lay_the_features_end_to_end():
  assert LAYOUT.offsets == {
    feature.name: stacked(feature.name, [0])[0] for feature in FEATURES
  }
  assert LAYOUT.num_rows == sum(feature.rows for feature in FEATURES)
  assert LAYOUT.user_fields == ("user_id", "liked")
  assert LAYOUT.ad_fields == ("ad_id", "position")
  assert LAYOUT.ad_list_fields == ("tags",)


def test_a_side_without_features_is_no_error():
  for side in ("user", "ad"):
    layout = layout_lib.Layout(
      features=tuple(f for f in FEATURES if f.side == side),
      ad_images=True,
      behaviour_images=True,
    )
    made = build(SAMPLES, layout)
    assert set(made.inputs["ad_ids"]) == set(layout.ad_fields)
    assert set(made.inputs["user_ids"]) == set(layout.user_fields)
    assert set(made.inputs["ad_lists"]) == set(layout.ad_list_fields)
    assert (made.id_rows >= device_slice.EMPTY).all()
    assert made.id_rows.max() < layout.num_rows


def test_rungs_ascend_by_a_quarter_at_most():
  rungs = [room.rung(n) for n in range(5000)]
  assert rungs == sorted(rungs)
  assert rungs[0] == 16
  for n, rung in enumerate(rungs):
    assert n <= rung <= max(16, 1.25 * n)
    assert room.rung(rung) == rung
  for low in (16, 64, 1024):
    assert len({r for r in rungs if low < r <= 2 * low}) == 4


def test_probed_room_makes_every_batch_the_same_size():
  order = pipeline.shuffled(LOG, 0, 32)
  samples = [order(step) for step in range(8)]
  probed = pipeline.probe(LOG, order, LAYOUT, num_devices=2)
  given = room.with_spare([slice.sizes for slice in probed])
  made = [build(s, devices=2, capacities=given) for s in samples]
  assert len({tuple(shapes(b)) for b in made}) == 1
  for b, s in zip(made, samples, strict=True):
    assert from_batch(b, LAYOUT) == [from_log(i, LAYOUT) for i in s]
  tight = {tuple(shapes(build(s, devices=2))) for s in samples}
  assert len(tight) > 1  # Else the room given was of no use.


def test_batch_that_needs_more_room_gets_the_next_rung():
  few = device_slice.make(LOG, SAMPLES[:8], LAYOUT, {})
  given = room.with_spare([room.sizes_of(few)])
  made = build(SAMPLES, capacities=given)
  assert shapes(made) == shapes(build(SAMPLES))
  needed = len({row for row in made.id_rows[0].tolist() if row >= 0})
  assert given["id_rows"] < needed
  assert made.id_rows.shape[1] == room.rung(needed)


def test_images_only_in_behaviours_or_only_in_ads_both_arrive():
  log = click_log.ClickLog(
    user_ids={"u": click_log.Jagged(np.array([1, 2]), np.array([0, 1, 2]))},
    ad_ids={"a": np.array([3, 0])},
    behaviour_images=click_log.Jagged(np.array([7, 5, 7]), np.array([0, 0, 3])),
    ad_image=np.array([9, 2]),
    label=np.array([0.0, 1.0]),
    group=np.array([0, 1]),
    user=np.array([0, 1]),
  )
  layout = layout_lib.Layout(
    features=(
      click_log.Feature(name="u", side="user", rows=4),
      click_log.Feature(name="a", side="ad", rows=4),
    ),
    ad_images=True,
    behaviour_images=True,
  )
  made = batch.build(log, np.arange(2), layout, num_devices=1)
  assert made.id_rows[0, :5].tolist() == [1, 2, 4, 7, device_slice.EMPTY]
  assert made.image_rows[0, :5].tolist() == [2, 5, 7, 9, device_slice.EMPTY]
  assert made.inputs["ad_image"].tolist() == [[3, 0]]
  places, groups, _ = made.inputs["behaviours"]
  assert places[0, :3].tolist() == [2, 1, 2]
  assert groups[0, :3].tolist() == [1, 1, 1]
