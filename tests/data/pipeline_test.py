"""The order of samples is a pure function of the seed and the step."""

import itertools
import threading

import jax
import numpy as np
import pytest

from dicm_jax.data import batch, device_slice, pipeline, room
from dicm_jax.data import layout as layout_lib
from tests import toy

LOG = toy.dataset().train
N = LOG.num_samples
LAYOUT = layout_lib.Layout(
  features=toy.dataset().features, ad_images=True, behaviour_images=True
)


def epochs_of(order, count, batch_size):
  """The first epochs, cut out of the batches laid end to end."""
  steps = -(-count * N // batch_size)
  row = np.concatenate([order(step) for step in range(steps)])
  return np.split(row[: count * N], count)


def room_of(order, devices):
  probed = pipeline.probe(LOG, order, LAYOUT, num_devices=devices)
  return room.with_spare([slice.sizes for slice in probed])


def stream(first, end, *, seed=0, devices=2):
  order = pipeline.shuffled(LOG, seed, 32)
  sizes = room_of(order, devices)
  made = pipeline.stream(
    LOG,
    order,
    LAYOUT,
    first_step=first,
    end_step=end,
    num_devices=devices,
    capacities=sizes,
  )
  return list(made)


def same(one, other):
  assert jax.tree.structure(one) == jax.tree.structure(other)
  pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
  return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("batch_size", [1, 32, N, 2 * N + 5])
def test_every_sample_comes_once_an_epoch(batch_size):
  order = pipeline.shuffled(LOG, 0, batch_size)
  assert all(len(order(step)) == batch_size for step in range(3))
  for epoch in epochs_of(order, 3, batch_size):
    assert sorted(epoch.tolist()) == list(range(N))


def test_samples_of_a_group_stay_side_by_side_and_in_order():
  for epoch in epochs_of(pipeline.shuffled(LOG, 0, 32), 2, 32):
    runs = [
      [s for s, _ in run]
      for _, run in itertools.groupby(
        zip(epoch.tolist(), LOG.group[epoch], strict=True), lambda x: x[1]
      )
    ]
    assert len(runs) == LOG.num_groups
    assert all(run == list(range(run[0], run[-1] + 1)) for run in runs)


def test_another_epoch_or_seed_has_another_order():
  first, second = epochs_of(pipeline.shuffled(LOG, 0, 32), 2, 32)
  (other,) = epochs_of(pipeline.shuffled(LOG, 1, 32), 1, 32)
  assert not np.array_equal(first, second)
  assert not np.array_equal(first, other)
  assert not np.array_equal(first, np.arange(N))


def test_order_depends_on_seed_and_step_alone():
  order = pipeline.shuffled(LOG, 5, 100)
  forward = [order(step) for step in range(40)]
  again = pipeline.shuffled(LOG, 5, 100)
  backward = [again(step) for step in reversed(range(40))][::-1]
  assert np.array_equal(forward, backward)


def test_order_may_be_asked_from_threads():
  order = pipeline.shuffled(LOG, 5, 100)
  expected = [order(step) for step in range(40)]
  shared = pipeline.shuffled(LOG, 5, 100)
  found = [None] * 40

  def ask(steps):
    for step in steps:
      found[step] = shared(step)

  threads = [
    threading.Thread(target=ask, args=(range(i, 40, 4),)) for i in range(4)
  ]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert np.array_equal(found, expected)


@pytest.mark.parametrize("batch_size", [N - 1, N + 1, 3 * N])
def test_batch_across_epochs_takes_the_older_epoch_first(batch_size):
  order = pipeline.shuffled(LOG, 0, batch_size)
  row = np.concatenate(epochs_of(pipeline.shuffled(LOG, 0, N), 24, N))
  for step in range(24 * N // batch_size):
    expected = row[step * batch_size : (step + 1) * batch_size]
    assert np.array_equal(order(step), expected), step


@pytest.mark.parametrize("first", [1, 7, 30])
def test_stream_begun_later_goes_on_bit_for_bit(first):
  whole = stream(0, 34)
  rest = stream(first, 34)
  assert len(whole) == 34
  assert len(rest) == 34 - first
  assert all(map(same, whole[first:], rest))
  assert not same(whole[0], whole[1])


def test_stream_makes_the_batches_of_its_order():
  order = pipeline.shuffled(LOG, 3, 32)
  sizes = room_of(order, 4)
  for step, found in enumerate(stream(0, 5, seed=3, devices=4)):
    expected = batch.build(
      LOG, order(step), LAYOUT, num_devices=4, capacities=sizes
    )
    assert same(found, expected)


def test_processes_make_the_slices_of_their_own_devices():
  order = pipeline.shuffled(LOG, 0, 32)
  # No room given: what one process needs, the others must make too.
  args = {"first_step": 0, "end_step": 6, "num_devices": 4, "capacities": {}}
  whole = list(pipeline.stream(LOG, order, LAYOUT, **args))
  rooms = [batch.room_of(made) for made in whole]
  asked: list[batch.Capacities] = []
  remade = 0
  parts = []
  for mine in ([0, 1], [2, 3]):
    alone = iter(rooms)

    def agree(sizes, alone=alone):
      asked.append(sizes)
      return next(alone)

    made = pipeline.stream(LOG, order, LAYOUT, **args, mine=mine, agree=agree)
    parts.append(list(made))
  for one, other, expected, sizes in zip(*parts, whole, rooms, strict=True):
    joined = jax.tree.map(lambda a, b: np.concatenate([a, b]), one, other)
    assert same(joined, expected)
    assert batch.room_of(one) == sizes
  for sizes, one, other in zip(rooms, asked[:6], asked[6:], strict=True):
    assert {k: max(one[k], other[k]) for k in sizes} == sizes
    remade += (one != sizes) + (other != sizes)
  assert remade > 0


def test_stream_of_a_finished_run_is_empty():
  assert stream(5, 5) == []


def test_first_batches_have_one_size():
  sizes = {
    tuple(leaf.shape for leaf in jax.tree.leaves(made))
    for made in stream(0, pipeline.PROBED_BATCHES)
  }
  assert len(sizes) == 1


@pytest.mark.parametrize("batch_size", [64, N, N + 3])
def test_sequence_covers_all_once_and_pads_the_end(batch_size):
  order = pipeline.in_sequence(LOG, batch_size)
  count = pipeline.num_batches(LOG, batch_size)
  row = np.concatenate([order(step) for step in range(count)])
  assert len(row) == count * batch_size
  assert row[:N].tolist() == list(range(N))
  assert row[N:].tolist() == [device_slice.EMPTY] * (count * batch_size - N)
  assert len(row) - N < batch_size


def test_samples_of_groups_follow_the_groups():
  groups = np.array([7, 0, 7, 3])
  expected = [s for g in groups for s in range(N) if LOG.group[s] == g]
  assert pipeline.samples_of(LOG, groups).tolist() == expected
  with pytest.raises(IndexError):
    pipeline.samples_of(LOG, np.array([LOG.num_groups]))


def test_the_next_batch_is_placed_while_one_is_used():
  placed = []

  def place(batch):
    placed.append(batch)
    return 10 * batch

  made = pipeline.one_ahead(place, iter(range(4)))
  assert next(made) == 0
  assert [*made] == [10, 20, 30]
  assert placed == [0, 1, 2, 3]
  assert [*pipeline.one_ahead(place, iter([]))] == []


def test_an_error_while_placing_comes_in_its_turn():
  made = pipeline.one_ahead(lambda batch: 1 / batch, iter([1, 0, 2]))
  assert next(made) == 1
  with pytest.raises(ZeroDivisionError):
    next(made)


def test_what_is_left_is_not_placed():
  placed = []
  made = pipeline.one_ahead(placed.append, iter(range(9)))
  next(made)
  made.close()
  assert len(placed) <= 2
