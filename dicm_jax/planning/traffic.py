"""Bytes that one device sends in a step, by collective, and the least of them.

What a device keeps to itself is not sent. An all-reduce counts as the
bandwidth-optimal ring, 2 (N - 1) / N of its size (Patarasuk and Yuan 2009,
https://doi.org/10.1016/j.jpdc.2008.09.002).
"""

import dataclasses
import math

import jax

from dicm_jax import config as config_lib
from dicm_jax.model import config as model_config
from dicm_jax.planning.shapes import Shapes
from dicm_jax.planning.workload import Workload

NUMBER_BYTES = 4
"""Of a row number, and of each number of a vector."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sent:
  """What a device sends by one collective."""

  name: str
  """As the ledger of the compiled step names it."""
  kind: str
  group: int
  """Devices that take part together, neighbours on the mesh."""
  wire_bytes: float
  bound_bytes: float
  """The least for the same: no padding, no row number that is not asked for."""


def of_step(
  config: config_lib.Config, load: Workload, made: Shapes
) -> list[Sent]:
  """All collectives of a step in which no route takes a second round."""
  model = config.model
  ragged = config.train.exchange == "ragged"
  ids = _exchanges(
    "ids", load.devices, load.id_group, load.distinct_ids, ragged
  )
  images = _exchanges(
    "images", load.server, load.image_group, load.distinct_images, ragged
  )
  found = [
    ids("rows", 1),
    ids("vectors", model.id_width),
    ids("gradients", model.id_width),
    images("rows", 1),
    images("vectors", model.image_vector),
    images("gradients", model.trained_width),
    *([_counts("ids", load.devices)] if ragged else []),
    *([_counts("images", load.server)] if ragged else []),
    _limits(load),
    _dense(load, num_parameters(made)),
    # The batch's weights and its loss.
    _reduced("loss", load.devices, 2),
  ]
  if model.activation == "dice":
    found.append(_moments(model, load))
  return [sent for sent in found if sent.wire_bytes]


def num_parameters(made: Shapes) -> int:
  """Dense numbers whose gradients are summed over the devices."""
  return sum(x.size for x in jax.tree.leaves(made.state.dense))


def _exchanges(
  name: str, owners: int, capacity: int, distinct: float, ragged: bool
):
  """All-to-alls of a route, by what travels and its numbers a row."""

  def exchange(what: str, width: int) -> Sent:
    sent = NUMBER_BYTES * width * (owners - 1)
    # Of a device's distinct rows the part that others own. Rows are asked for
    # by the device that wants them, and vectors sent by those that do not; in
    # the mean over the devices it is the same number.
    bound = sent * distinct / owners
    return Sent(
      name=f"{name}.{what}",
      kind="all-to-all",
      group=owners,
      wire_bytes=bound if ragged else float(sent * capacity),
      bound_bytes=bound,
    )

  return exchange


def _counts(name: str, owners: int) -> Sent:
  """How many rows each device is to expect of each."""
  return Sent(
    name=f"{name}.counts",
    kind="all-to-all",
    group=owners,
    wire_bytes=float(NUMBER_BYTES * (owners - 1)),
    bound_bytes=0.0,
  )


def _dense(load: Workload, parameters: int) -> Sent:
  """Dense gradients, and beside them on how many devices a step went wrong."""
  sent = _reduced("dense.gradients", load.devices, parameters + 1)
  bound = _reduced("", load.devices, parameters).wire_bytes
  return dataclasses.replace(sent, bound_bytes=bound)


def _reduced(name: str, group: int, numbers: int) -> Sent:
  return Sent(
    name=name,
    kind="all-reduce",
    group=group,
    wire_bytes=2 * (group - 1) / group * NUMBER_BYTES * numbers,
    bound_bytes=0.0,
  )


def _limits(load: Workload) -> Sent:
  """Up to which row a round goes, for each owner."""
  owners = sum(n for n in (load.devices, load.server) if n > 1)
  return _reduced("limits", load.devices, owners)


def _moments(model: model_config.ModelConfig, load: Workload) -> Sent:
  """Dice's sums over the batch, forth and back: count, mean, variance."""
  numbers = sum(2 * (1 + 2 * width) for width in model.hidden_widths)
  return _reduced("total", load.devices, numbers)


def total(sent: list[Sent]) -> float:
  return math.fsum(part.wire_bytes for part in sent)


def bound(sent: list[Sent]) -> float:
  return math.fsum(part.bound_bytes for part in sent)
