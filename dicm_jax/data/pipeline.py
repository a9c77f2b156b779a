"""The stream of batches: shuffled, prefetched, exact to restart.

Batch k is a pure function of (seed, k): it takes positions [k B, (k + 1) B) of
the endless row of epochs, each a fresh shuffle of the groups, whose samples
stay side by side. So the step number alone is the position in the data.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import concurrent.futures
import functools
from typing import NamedTuple, TypeVar

import grain
from jaxtyping import Int
import numpy as np

from dicm_jax.data import batch, click_log, device_slice, id_dropout, room
from dicm_jax.data import layout as layout_lib

Order = Callable[[int], Int[np.ndarray, " B"]]
"""Step -> the sample numbers of its batch."""

Placed = TypeVar("Placed")
"""A batch where it is trained on."""

Agree = Callable[[room.Capacities], room.Capacities]
"""The room this process needs -> the largest that any process needs."""

PROBED_BATCHES, PROBED_SAMPLES = 8, 1 << 15
"""Batches, and samples, that are looked at at least before training to choose
the sizes of arrays: small batches differ more from one another."""


def probed_batches(log: click_log.ClickLog, batch_size: int) -> int:
  """How many batches to look at: no more than two epochs of a short log."""
  samples = min(PROBED_SAMPLES, 2 * log.num_samples)
  return max(PROBED_BATCHES, samples // batch_size)


def shuffled(log: click_log.ClickLog, seed: int, batch_size: int) -> Order:
  """Endless epochs, each in an order of groups of its own."""
  n = log.num_samples

  # Threads of the pipeline ask for neighbouring batches, so of two epochs.
  @functools.lru_cache(maxsize=2)
  def epoch_order(epoch: int):
    rng = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    return samples_of(log, rng.permutation(log.num_groups))

  def order(step: int):
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs = positions // n
    # In order: a set of 7 and 8 yields 8 first.
    return np.concatenate(
      [
        epoch_order(e)[positions[epochs == e] % n]
        for e in np.unique(epochs).tolist()
      ]
    )

  return order


def in_sequence(log: click_log.ClickLog, batch_size: int) -> Order:
  """One pass in the log's own order; EMPTY pads the last batch."""

  def order(step: int):
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    return np.where(positions < log.num_samples, positions, device_slice.EMPTY)

  return order


def num_batches(log: click_log.ClickLog, batch_size: int) -> int:
  """Batches of one pass, the last one padded."""
  return -(-log.num_samples // batch_size)


def samples_of(
  log: click_log.ClickLog, groups: Int[np.ndarray, " G"]
) -> Int[np.ndarray, " n"]:
  """All samples of the given groups, group after group.

  Raises:
    IndexError: a group number is out of range.
  """
  # Half the memory where 32 bits are enough: a log's order takes as much as
  # one of its columns.
  dtype = np.int32 if log.num_samples < 2**31 else np.int64
  numbers = np.arange(log.num_groups + 1, dtype=log.group.dtype)
  starts = np.searchsorted(log.group, numbers).astype(dtype)
  lengths = np.diff(starts)[groups]
  first = np.cumsum(lengths, dtype=dtype) - lengths
  out = np.repeat(starts[groups] - first, lengths)
  out += np.arange(len(out), dtype=dtype)
  return out


class Probed(NamedTuple):
  """What a slice asks for, and what its batch needs of fixed sizes."""

  sizes: room.Capacities
  id_rows: Int[np.ndarray, " U"]
  image_rows: Int[np.ndarray, " V"]


def probe(
  log: click_log.ClickLog,
  order: Order,
  layout: layout_lib.Layout,
  *,
  num_devices: int,
) -> list[Probed]:
  """Needs of the first batches' slices; later ones seldom need more."""
  found = []
  for step in range(probed_batches(log, len(order(0)))):
    made = batch.cut(log, order(step), layout, num_devices=num_devices)
    needs = made.needs  # Of all slices: to look through them once.
    found += [
      Probed(needs, piece.id_rows, piece.image_rows) for piece in made.slices
    ]
  return found


def stream(
  log: click_log.ClickLog,
  order: Order,
  layout: layout_lib.Layout,
  *,
  first_step: int,
  end_step: int,
  num_devices: int,
  capacities: room.Capacities,
  drop: id_dropout.Drop = id_dropout.nothing,
  mine: Sequence[int] | None = None,
  agree: Agree = lambda sizes: sizes,
) -> Iterator[batch.Batch]:
  """Batches of steps [first_step, end_step), made by threads ahead of time.

  Of several processes each makes the slices of its own devices only. Arrays
  must have one size everywhere, so the processes agree on it batch by batch;
  one that had given less room makes its slices again.

  Args:
    log: the split.
    order: which samples each step takes.
    layout: what a batch holds.
    first_step: the step to begin with, e.g. of a restored checkpoint.
    end_step: the step to stop before.
    num_devices: devices over which a batch is cut.
    capacities: sizes of ragged arrays; a pure function of data and config, so
      that a restarted run compiles the same programs.
    drop: which ids each step takes as unknown.
    mine: the devices of this process; None: all.
    agree: called in the caller's thread, once a batch, in order.
  """

  def make(step: int, sizes: room.Capacities = capacities) -> batch.Batch:
    return batch.build(
      log,
      order(step),
      layout,
      num_devices=num_devices,
      mine=mine,
      capacities=sizes,
      dropped=drop(step),
    )

  steps = grain.MapDataset.range(first_step, end_step).map(make)
  options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=8)
  made = iter(steps.to_iter_dataset(options))
  for step, found in zip(range(first_step, end_step), made, strict=True):
    agreed = agree(batch.room_of(found))
    yield found if agreed == batch.room_of(found) else make(step, agreed)


def one_ahead(
  function: Callable[[batch.Batch], Placed], batches: Iterable[batch.Batch]
) -> Iterator[Placed]:
  """`map`, the next batch's turn being taken by a thread meanwhile.

  Batches themselves are asked for in the caller's thread: of several processes
  all must agree on them in one order.
  """
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    before: concurrent.futures.Future[Placed] | None = None
    for made in batches:
      coming = pool.submit(function, made)
      if before is not None:
        yield before.result()
      before = coming
    if before is not None:
      yield before.result()
