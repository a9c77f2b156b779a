"""What is dropped depends on the seed and the step, and on nothing else."""

import jax
import numpy as np
import pytest

from dicm_jax import errors
from dicm_jax.data import batch, id_dropout, pipeline
from dicm_jax.data import layout as layout_lib
from tests import toy

LOG = toy.dataset().train
LAYOUT = layout_lib.Layout(
  features=toy.dataset().features, ad_images=True, behaviour_images=True
)
FIELDS = ("ad_id", "position")
SIZE = 32


def make(probability=0.3, fields=FIELDS, *, seed=0, batch_size=SIZE):
  return id_dropout.at_random(
    probability, fields, LAYOUT, seed=seed, batch_size=batch_size
  )


def stream(drop, *, first=0, end=6, devices=4, **more):
  order = pipeline.shuffled(LOG, 0, SIZE)
  made = pipeline.stream(
    LOG,
    order,
    LAYOUT,
    first_step=first,
    end_step=end,
    num_devices=devices,
    capacities={},
    drop=drop,
    **more,
  )
  return list(made)


def ids_of(made, name):
  """Each sample's id of a field, read back from a batch's own arrays."""
  rows = np.take_along_axis(made.id_rows, made.inputs["ad_ids"][name], axis=1)
  return rows.reshape(-1) - LAYOUT.offsets[name]


def same(one, other):
  pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
  return all(np.array_equal(a, b) for a, b in pairs)


def test_share_dropped_is_the_probability_and_fields_fall_by_themselves():
  drop = make(0.3, batch_size=1000)
  masks = [drop(step) for step in range(100)]
  one, other = (np.array([mask[name] for mask in masks]) for name in FIELDS)
  # 100 000 draws: five standard deviations are 0.0073 and 0.0045.
  assert one.mean() == pytest.approx(0.3, abs=0.0073)
  assert other.mean() == pytest.approx(0.3, abs=0.0073)
  assert (one & other).mean() == pytest.approx(0.09, abs=0.0045)


def test_one_drops_all_and_zero_nothing():
  assert make(1.0)(3)["ad_id"].all()
  assert make(0.0)(3) == {}
  assert make(0.0, ())(3) == {}


def test_mask_depends_on_seed_and_step_alone():
  steps = range(20)
  forward = [make()(step)["ad_id"] for step in steps]
  again = make()
  backward = [again(step)["ad_id"] for step in reversed(steps)][::-1]
  assert np.array_equal(forward, backward)
  assert len({mask.tobytes() for mask in forward}) == 20
  assert not np.array_equal(make(seed=1)(0)["ad_id"], forward[0])


def test_dropped_ids_are_row_0_and_all_else_is_the_log():
  drop = make()
  order = pipeline.shuffled(LOG, 0, SIZE)
  plain = stream(id_dropout.nothing)
  for step, (made, whole) in enumerate(zip(stream(drop), plain, strict=True)):
    mask = drop(step)
    for name in FIELDS:
      expected = np.where(mask[name], 0, LOG.ad_ids[name][order(step)])
      assert np.array_equal(ids_of(made, name), expected)
    rows = [set(b.id_rows[b.id_rows >= 0].tolist()) for b in (made, whole)]
    assert rows[0] != rows[1]
    assert np.array_equal(made.label, whole.label)
    assert np.array_equal(made.image_rows, whole.image_rows)


def test_fields_that_are_not_named_keep_their_ids():
  order = pipeline.shuffled(LOG, 0, SIZE)
  (made,) = stream(make(1.0, ("position",)), end=1)
  assert not ids_of(made, "position").any()
  assert np.array_equal(ids_of(made, "ad_id"), LOG.ad_ids["ad_id"][order(0)])


@pytest.mark.parametrize("devices", [1, 2, 8])
def test_devices_do_not_change_what_is_dropped(devices):
  pairs = zip(stream(make()), stream(make(), devices=devices), strict=True)
  for one, other in pairs:
    for name in FIELDS:
      assert np.array_equal(ids_of(one, name), ids_of(other, name))


def test_processes_make_the_slices_of_their_own_devices():
  whole = stream(make())
  rooms = [batch.room_of(made) for made in whole]
  parts = []
  for mine in ([0, 1], [2, 3]):
    alone = iter(rooms)

    def agree(_, alone=alone):
      return next(alone)

    parts.append(stream(make(), mine=mine, agree=agree))
  for one, other, expected in zip(*parts, whole, strict=True):
    joined = jax.tree.map(lambda a, b: np.concatenate([a, b]), one, other)
    assert same(joined, expected)


def test_stream_begun_later_goes_on_bit_for_bit():
  assert all(map(same, stream(make())[4:], stream(make(), first=4)))


@pytest.mark.parametrize(
  ("name", "nearest"), [("ad_ids", "ad_id"), ("positoin", "position")]
)
def test_unknown_field_gives_the_nearest(name, nearest):
  for probability in (0.0, 0.1):
    with pytest.raises(errors.InputError) as caught:
      make(probability, (name,))
    assert str(caught.value).startswith(
      f"unknown train.id_dropout_fields {name!r}; did you mean {nearest!r}?"
    )


@pytest.mark.parametrize("name", ["user_id", "tags"])
def test_user_side_and_lists_are_refused(name):
  with pytest.raises(errors.InputError, match=r"\(known: ad_id, position\)"):
    make(0.1, (name,))


def test_probability_without_fields_is_refused():
  with pytest.raises(errors.InputError) as caught:
    make(0.1, ())
  assert str(caught.value) == (
    "train.id_dropout_fields: expected names of ID fields with "
    "train.id_dropout=0.1, found none (known: ad_id, position)"
  )


def test_training_drops_and_evaluation_does_not():
  plain = toy.build()
  dropping = toy.build(
    train__id_dropout=0.5, train__id_dropout_fields=("ad_id",)
  )
  ads = [ids_of(next(x.batches(0, 1)), "ad_id") for x in (dropping, plain)]
  drop = make(0.5, ("ad_id",), batch_size=plain.batch_size)
  assert np.array_equal(ads[0], np.where(drop(0)["ad_id"], 0, ads[1]))
  for log in (plain.data.test, plain.data.train):
    pairs = zip(dropping.one_pass(log), plain.one_pass(log), strict=True)
    assert all(same(*pair) for pair in pairs)
