"""The device mesh ('worker', 'server') and how arrays lie on it.

Servers and workers take turns on the same chips (DICM paper, section 5): every
device holds a slice of the batch and a slice of the tables.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree
import numpy as np

from dicm_jax import errors

Tree = TypeVar("Tree", bound=PyTree)

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
  return jax.make_mesh(
    split(worker, server, len(devices)),
    BOTH,
    axis_types=(AxisType.Auto,) * 2,
    devices=devices,
  )


def split(worker: int, server: int, n: int) -> tuple[int, int]:
  """Devices along both axes, of n together.

  Args:
    worker: as for `make_mesh`.
    server: as for `make_mesh`.
    n: devices that there are.

  Raises:
    InputError: the product is not n.

  >>> split(2, -1, 8)
  (2, 4)
  """
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
  return worker, server


def put(mesh: Mesh, spec: PartitionSpec, array) -> jax.Array:
  """Lays a host array over the mesh.

  Each process hands over only the shards of its own devices.
  """
  return put_parts(mesh, spec, array.shape, lambda index: array[index])


def put_parts(
  mesh: Mesh,
  spec: PartitionSpec,
  shape: tuple[int, ...],
  part: Callable[[tuple[slice, ...]], np.ndarray],
) -> jax.Array:
  """As `put`, of an array that nobody holds whole.

  Args:
    mesh: the mesh.
    spec: how it lies there.
    shape: of all of it.
    part: makes the part that a device holds; copies of it are made once.
  """
  made: dict[str, np.ndarray] = {}

  def once(index):
    key = str(index)
    if key not in made:
      made[key] = part(index)
    return made[key]

  sharding = NamedSharding(mesh, spec)
  return jax.make_array_from_callback(shape, sharding, once)


def my_devices(mesh: Mesh) -> list[int]:
  """Places of this process's devices in the order of batch slices."""
  me = jax.process_index()
  return [i for i, d in enumerate(mesh.devices.flat) if d.process_index == me]


def put_slices(mesh: Mesh, slices: PyTree) -> PyTree:
  """Lays batch arrays over the mesh, of which each process has its own part.

  Args:
    mesh: the mesh.
    slices: NumPy arrays whose first axis is `my_devices`.
  """
  sharding = NamedSharding(mesh, BATCH)
  if jax.process_count() == 1:  # All in one call: half of the time.
    return jax.device_put(slices, sharding)

  def place(mine: np.ndarray) -> jax.Array:
    shape = (mesh.size, *mine.shape[1:])
    return jax.make_array_from_process_local_data(sharding, mine, shape)

  return jax.tree.map(place, slices)


def largest(sizes: dict[str, int]) -> dict[str, int]:
  """The largest of each size over all processes, which must all call it."""
  if jax.process_count() == 1:
    return sizes
  names = sorted(sizes)
  mine = np.array([sizes[name] for name in names], np.int32)
  most = multihost_utils.process_allgather(mine).max(axis=0)
  return dict(zip(names, most.tolist(), strict=True))


def total(tree: Tree, scope: str = "total") -> Tree:
  """Sums over all devices, inside `jax.shard_map`.

  Args:
    tree: arrays.
    scope: by which the ledger of what travels names the sum.
  """
  with jax.named_scope(scope):
    return jax.lax.psum(tree, BOTH)


def gather(array: jax.Array) -> np.ndarray:
  """The whole of a sharded array, on every process."""
  return multihost_utils.process_allgather(array, tiled=True)
