"""Which mesh to take, and where tables should lie if they do not fit."""

from collections.abc import Callable, Iterator, Sequence

from dicm_jax import config as config_lib
from dicm_jax import content, optim
from dicm_jax.hardware import Hardware
from dicm_jax.planning.forecast import Plan
from dicm_jax.sharding import table

GB = 1e9


def splits(devices: int) -> Iterator[tuple[int, int]]:
  """All (worker, server) of so many devices, one worker first.

  >>> list(splits(4))
  [(1, 4), (2, 2), (4, 1)]
  """
  for worker in range(1, devices + 1):
    if devices % worker == 0:
      yield worker, devices // worker


def fastest_that_fits(
  plans: Sequence[Plan], memory_bytes: float
) -> Plan | None:
  """The plan with the shortest step among those that fit; None: none does."""
  fitting = [plan for plan in plans if plan.memory.total <= memory_bytes]
  return min(fitting, key=lambda plan: plan.step_s, default=None)


def devices_needed(
  plan_for: Callable[[int], Plan], devices: int, memory_bytes: float
) -> int | None:
  """The least number of devices that hold all tables, one worker; None: none.

  Args:
    plan_for: the plan on so many servers.
    devices: of which it is known that they do not.
    memory_bytes: of a device.
  """
  while (devices := 2 * devices) <= table.BUCKETS:
    if plan_for(devices).memory.total <= memory_bytes:
      return devices
  return None


def remedies(
  config: config_lib.Config, plan: Plan, hardware: Hardware
) -> list[str]:
  """What else would make room, with figures."""
  parts = plan.memory.parts
  return [
    *_for_images(config, plan, hardware, parts["image table"]),
    *_for_rows(
      config, plan, hardware, parts["ID table"], parts["ID optimiser slots"]
    ),
    f"activations are {plan.memory.activations / GB:.2f} GB of a device, about "
    "half of it at half of train.batch_size",
  ]


def _for_images(
  config: config_lib.Config, plan: Plan, hardware: Hardware, held: float
) -> Iterator[str]:
  if not plan.load.served_images or config.model.images == "none":
    return
  if config.image.tier != content.DEVICE:
    return
  row = held * plan.load.server / plan.load.image_rows
  needed = row * plan.load.served_images
  yield (
    f"image table in the hosts' memory: {held * plan.load.server / GB:.1f} GB "
    f"over all hosts; a device would be brought {needed / GB:.3f} GB a step, "
    f"{1e3 * needed / hardware.host_bytes_per_s:.2f} ms of its link: "
    "image.tier=host, or file"
  )
  if config.image.mode == "features":
    yield (
      f"a row of {row:,.0f} bytes shrinks with a narrower encoder: squeezenet "
      "has 512 numbers, inception_v3 2048, vgg16 4096 (image.cut=fc8: 1000)"
    )


def _for_rows(
  config: config_lib.Config,
  plan: Plan,
  hardware: Hardware,
  rows: float,
  slots: float,
) -> Iterator[str]:
  if config.sparse_optimizer.tier == optim.HOST:
    return
  held = (rows + slots) * plan.load.devices
  moved = held / plan.load.id_rows * plan.load.served_ids
  yield (
    f"ID table with its slots in the memory of one host: {held / GB:.1f} GB; a "
    f"device would be brought {moved / GB:.3f} GB a step and give it back, "
    f"{1e3 * moved / hardware.host_bytes_per_s:.2f} ms of its link each way: "
    "sparse_optimizer.tier=host"
  )
  if slots > rows / config.model.id_width:
    yield (
      f"ID optimiser slots, {slots / GB:.2f} GB of a device: "
      "sparse_optimizer.name=rowwise_adagrad has "
      f"{rows / config.model.id_width / GB:.2f} GB"
    )
