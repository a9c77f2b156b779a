"""Content that lies in host memory or a file, brought up batch by batch.

A batch's distinct image rows are numbered anew, 0, 1, ..., and their content
becomes a small table over the servers, for one step. So a step costs the rows
it asks for, whatever lies behind them. Rows never change: to read them ahead of
time is exact.
"""

import jax
from jax.sharding import Mesh
from jaxtyping import Int, Shaped
import numpy as np

from dicm_jax.data import batch as batch_lib
from dicm_jax.data import held_rows
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import table


def put(
  mesh: Mesh, held: held_rows.HeldRows, rows: Int[np.ndarray, " W"]
) -> Shaped[jax.Array, "buckets slots *content"]:
  """Lays the content of some rows over the servers, row i as number i.

  Each process reads what its own devices hold. EMPTY rows are zeros.
  """
  places = table.rows_at(len(rows))

  def part(index: tuple[slice, ...]):
    at = places[index[:2]]
    wanted = np.where(at == table.EMPTY, table.EMPTY, rows[at])
    out = np.zeros((*wanted.shape, *held.row_shape), held.dtype)
    there = wanted != table.EMPTY
    # By number, so that a file is read in order.
    order = np.argsort(wanted[there])
    found = np.flatnonzero(there.reshape(-1))[order]
    flat = out.reshape(-1, *held.row_shape)
    flat[found] = held.take(wanted.reshape(-1)[found])
    return out

  shape = (*places.shape, *held.row_shape)
  return mesh_lib.put_parts(mesh, mesh_lib.CONTENT, shape, part)


def placed(
  mesh: Mesh, held: held_rows.HeldRows | None, batch: batch_lib.Batch
) -> batch_lib.Batch:
  """Lays a batch over the mesh, and the content that it asks for.

  Args:
    mesh: the mesh.
    held: the content of all rows, with batches made with `Layout.windowed`;
      None: content lies on the devices.
    batch: on the host.
  """
  # Which ID rows it asks for, where batches say so, the host must know.
  slices = batch._replace(content_rows=None, id_window=None)
  laid = mesh_lib.put_slices(mesh, slices)._replace(id_window=batch.id_window)
  if held is None:
    return laid
  assert batch.content_rows is not None
  return laid._replace(content=put(mesh, held, batch.content_rows))
