"""Content that lies in host memory or a file, brought up batch by batch.

A batch's distinct image rows are numbered anew, 0, 1, ..., and their content
becomes a small table over the servers, for one step. So a step costs the rows
it asks for, whatever lies behind them. Rows never change: to read them ahead of
time is exact.
"""

from collections.abc import Iterator
import concurrent.futures

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


def with_content(
  mesh: Mesh,
  held: held_rows.HeldRows,
  batches: Iterator[batch_lib.Batch],
) -> Iterator[batch_lib.Batch]:
  """Lays batches over the mesh; the next one's content is read meanwhile.

  Args:
    mesh: the mesh.
    held: the content of all rows.
    batches: as made with `Layout.windowed`.
  """
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    waiting: list[tuple[batch_lib.Batch, concurrent.futures.Future]] = []
    for batch in batches:
      assert batch.content_rows is not None
      reading = pool.submit(put, mesh, held, batch.content_rows)
      waiting.append((batch, reading))
      if len(waiting) > 1:
        yield _placed(mesh, *waiting.pop(0))
    for batch, reading in waiting:
      yield _placed(mesh, batch, reading)


def _placed(
  mesh: Mesh, batch: batch_lib.Batch, reading: concurrent.futures.Future
) -> batch_lib.Batch:
  slices = mesh_lib.put_slices(mesh, batch._replace(content_rows=None))
  return slices._replace(content=reading.result())
