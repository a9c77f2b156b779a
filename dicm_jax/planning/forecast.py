"""A plan: memory, traffic, work, and the time that a step will take.

The time of a part is the larger of its arithmetic and of its reading and
writing (the roofline, https://doi.org/10.1145/1498765.1498785); parts follow
one another, and nothing travels between devices behind the arithmetic's back.
Rows of tables on the host do, a step ahead. Making batches is left out: it runs
ahead as well, on the host.
"""

import dataclasses
import math

import jax.numpy as jnp

from dicm_jax import config as config_lib
from dicm_jax.hardware import Hardware
from dicm_jax.model import chunks
from dicm_jax.planning import encoder as encoder_lib
from dicm_jax.planning import memory, shapes, traffic, work
from dicm_jax.planning.memory import Memory
from dicm_jax.planning.shapes import Shapes
from dicm_jax.planning.traffic import Sent
from dicm_jax.planning.workload import Workload


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
  """What a step on one mesh needs, for one device."""

  load: Workload
  memory: Memory
  sent: list[Sent]
  flops: dict[str, float]
  seconds: dict[str, float]
  """By part of the work, and `travel`."""
  host_s: float
  """To bring up the next step's rows meanwhile, and these back."""
  parameters: int
  """Dense ones."""

  @property
  def step_s(self) -> float:
    return max(math.fsum(self.seconds.values()), self.host_s)


def make(
  config: config_lib.Config,
  load: Workload,
  encoder: encoder_lib.Encoder,
  hardware: Hardware,
) -> Plan:
  """Plans a config's step on a workload.

  Raises:
    InputError: the model or an optimiser cannot be made.
  """
  with chunks.planned_for(hardware.platform):
    made = shapes.of_step(config, load, encoder)
    held = memory.of_step(config, load, made)
    sent = traffic.of_step(config, load, made)
    flops = work.of_step(config, load, made)
    moved = _moved(config, load, made)
    brought = math.fsum(memory.brought_up(config, load, made).values())
  seconds = {
    part: max(
      amount / (hardware.flops * hardware.attained),
      moved[part] / (hardware.memory_bytes_per_s * hardware.attained),
    )
    for part, amount in flops.items()
  }
  travel = math.fsum(travel_s(part, hardware) for part in sent)
  return Plan(
    load=load,
    memory=held,
    sent=sent,
    flops=flops,
    seconds=seconds | {"travel": travel},
    # Both ways at once: no more comes back than goes up.
    host_s=brought / (hardware.host_bytes_per_s * hardware.attained),
    parameters=traffic.num_parameters(made),
  )


def _moved(
  config: config_lib.Config, load: Workload, made: Shapes
) -> dict[str, float]:
  """Bytes that each part reads and writes in a device's memory, at least."""
  images = work.images_embedded(config, load)
  size = jnp.dtype(config.image.dtype).itemsize
  features = size * images * made.encoder.width
  kept = shapes.num_bytes(memory.residuals(config, load, made))
  rows = shapes.num_bytes((made.state.ids, made.state.id_slots))
  a_row = rows / (made.state.ids.shape[0] * made.state.ids.shape[1])
  dense = shapes.num_bytes((made.state.dense, made.state.dense_slots))
  sizes = {
    "frozen encoder": shapes.num_bytes(made.content.encoder),
    "trained image layers": 2 * features,  # Forth, and again on the way back.
    "CTR network": 2 * kept,
    "sparse optimiser": 2 * a_row * work.id_places(load),
    "dense optimiser": 2 * dense,
  }
  return {part: float(size) for part, size in sizes.items()}


def travel_s(sent: Sent, hardware: Hardware) -> float:
  """Seconds of one collective.

  An exchange goes to all others alike: to those of the island over the link, at
  the same time to the rest over the network. A ring that leaves the island is
  as slow as the network.
  """
  far = max(sent.group - hardware.island, 0)
  share = far / (sent.group - 1)
  if far and sent.kind == "all-reduce":
    share = 1.0
  near_s = (1 - share) * sent.wire_bytes / hardware.link_bytes_per_s
  far_s = share * sent.wire_bytes / hardware.network_bytes_per_s if far else 0.0
  return hardware.latency_s + max(near_s, far_s) / hardware.attained
