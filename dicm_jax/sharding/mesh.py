"""The device mesh ('worker', 'server') and how arrays lie on it.

Servers and workers take turns on the same chips (DICM paper, section 5): every
device holds a slice of the batch and a slice of the tables.
"""

from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from dicm_jax import errors

WORKER = "worker"
SERVER = "server"
BOTH = (WORKER, SERVER)

BATCH = PartitionSpec(BOTH)
"""Batch arrays and ID tables: leading axis over every device."""
CONTENT = PartitionSpec(SERVER)
"""Content tables: rows over the servers, a copy for every worker."""
REPLICATED = PartitionSpec()


def make_mesh(
  worker: int, server: int, devices: Sequence[Any] | None = None
) -> Mesh:
  """Builds the mesh of `worker` x `server` devices.

  Args:
    worker: devices along `worker`, >= 1, or -1 for all that are left.
    server: devices along `server`, >= 1, or -1 for all that are left.
    devices: the devices to use; None means all there are.

  Raises:
    InputError: the product is not the number of devices.
  """
  devices = jax.devices() if devices is None else devices
  n = len(devices)
  asked = f"mesh.worker={worker}, mesh.server={server}"
  if worker == -1 and server >= 1 and n % server == 0:
    worker = n // server
  elif server == -1 and worker >= 1 and n % worker == 0:
    server = n // worker
  if worker < 1 or server < 1 or worker * server != n:
    raise errors.InputError(
      f"{asked}: expected a split of the {n} device(s) present, with at most "
      "one -1 for 'all the rest'; found none that fits. Change the mesh, or "
      "simulate devices with --cpu_devices=N"
    )
  return jax.make_mesh(
    (worker, server), BOTH, axis_types=(AxisType.Auto,) * 2, devices=devices
  )


def put(mesh: Mesh, spec: PartitionSpec, array) -> jax.Array:
  """Lays a host array over the mesh.

  Each process hands over only the shards of its own devices.
  """
  return jax.make_array_from_callback(
    array.shape, NamedSharding(mesh, spec), lambda index: array[index]
  )
