"""What a batch brings along that is not finite, and which sample it is of."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Int
import numpy as np

from dicm_jax import experiment
from dicm_jax.data import batch as batch_lib
from dicm_jax.data import device_slice
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import table


def on_host(array: jax.Array | np.ndarray) -> np.ndarray:
  """All of an array, on every process."""
  if isinstance(array, jax.Array) and not array.is_fully_replicated:
    return np.asarray(mesh_lib.gather(array))
  return np.asarray(array)


def sample(x: experiment.Experiment, number: int | np.integer) -> str:
  """A training sample, in words."""
  log = x.data.train
  group = log.group[number]
  return (
    f"sample {number} of the training split (page view {group}, user "
    f"{log.user[group]})"
  )


def find(
  x: experiment.Experiment,
  batch: batch_lib.Batch,
  samples: Int[np.ndarray, " B"],
) -> Iterator[str]:
  """Numbers of a training batch that are not finite, in words.

  Args:
    x: the experiment.
    batch: on the devices.
    samples: the samples it holds.
  """
  yield from _in_batch(x, batch, samples)
  yield from _in_content(x, batch, samples)


def _in_batch(
  x: experiment.Experiment, batch: batch_lib.Batch, samples
) -> Iterator[str]:
  """What samples bring along that is not finite."""
  by_device = samples.reshape(len(batch.label), -1)
  group = on_host(batch.inputs["group"])
  for held in _numbers(x, batch):
    array = on_host(held.array)
    wrong = np.argwhere(~np.isfinite(array))
    if not len(wrong):
      continue
    device, place, *column = wrong[0].tolist()
    if held.owner is not None:
      place = on_host(held.owner)[device, place]
    if held.by_group:
      place = np.argmax(group[device] == place)
    name = held.names[column[0] if column else 0]
    found = array[tuple(wrong[0])]
    yield f"{sample(x, by_device[device, place])}: {name} is {found}"


class _Numbers(NamedTuple):
  """Numbers of a batch's samples or groups."""

  names: Sequence[str]
  """Of the columns, for messages."""
  array: Any
  """[N, samples or groups, columns]; with `owner` [N, entries]."""
  owner: Any = None
  """Sample or group of each entry."""
  by_group: bool = False


def _numbers(
  x: experiment.Experiment, batch: batch_lib.Batch
) -> Iterator[_Numbers]:
  inputs, data = batch.inputs, x.data
  yield _Numbers(["the label"], batch.label)
  for side, known, by_group in (
    ("ad", data.ad_dense_names, False),
    ("user", data.user_dense_names, True),
  ):
    array = inputs[f"{side}_dense"]
    names = known or range(array.shape[-1])
    named = [f"dense feature {side}.{name}" for name in names]
    yield _Numbers(named, array, by_group=by_group)
  for side, by_group in (("ad_lists", False), ("user_ids", True)):
    for name, (_, owner, weight) in inputs[side].items():
      if weight is not None:
        yield _Numbers([f"a weight of {name}"], weight, owner, by_group)


def _in_content(
  x: experiment.Experiment, batch: batch_lib.Batch, samples
) -> Iterator[str]:
  """Images of the batch whose stored features are not finite."""
  log = x.data.train
  rows = device_slice.image_rows(log, samples, x.layout)
  brought = batch.content is not None
  content = batch.content if brought else x.content.table
  if not jnp.issubdtype(content.dtype, jnp.inexact):
    return
  axes = tuple(range(2, content.ndim))
  finite = on_host(jax.jit(lambda c: jnp.isfinite(c).all(axes))(content))
  wrong = table.from_buckets(~finite, finite.size)
  numbers = np.arange(len(rows)) if brought else rows
  for row in rows[wrong[numbers]].tolist():
    shown = samples[log.ad_image[samples] == row]
    if len(shown):
      whose = f"{sample(x, shown[0])}: image"
    else:
      whose = "a clicked image of a user's past:"
    yield (
      f"{whose} row {row}, {x.data.image_names[row]!r}: its features are not "
      "finite"
    )
