"""The mesh splits the devices as asked, or says why it cannot."""

import jax
import numpy as np
import pytest

from dicm_jax import errors
from dicm_jax.sharding import mesh as mesh_lib


@pytest.mark.parametrize(
  ("worker", "server", "shape"),
  [(1, -1, (1, 8)), (-1, 1, (8, 1)), (2, 4, (2, 4)), (4, -1, (4, 2))],
)
def test_minus_one_takes_all_the_rest(worker, server, shape):
  mesh = mesh_lib.make_mesh(worker, server)
  assert mesh.axis_names == ("worker", "server")
  assert mesh.devices.shape == shape


@pytest.mark.parametrize(
  ("worker", "server"), [(3, -1), (-1, -1), (2, 2), (0, 8), (16, 1), (-2, 1)]
)
def test_split_that_does_not_fit_is_named(worker, server):
  with pytest.raises(errors.InputError) as caught:
    mesh_lib.make_mesh(worker, server)
  for part in (f"mesh.worker={worker}", f"mesh.server={server}", "8 device"):
    assert part in str(caught.value)


def test_put_gives_each_device_its_slice():
  mesh = mesh_lib.make_mesh(2, 4)
  array = np.arange(16).reshape(8, 2)
  placed = mesh_lib.put(mesh, mesh_lib.BATCH, array)
  order = {d: k for k, d in enumerate(mesh.devices.flat)}
  for shard in placed.addressable_shards:
    np.testing.assert_array_equal(shard.data[0], array[order[shard.device]])
  copied = mesh_lib.put(mesh, mesh_lib.REPLICATED, array)
  assert copied.sharding.is_fully_replicated
  assert len(jax.devices()) == 8
