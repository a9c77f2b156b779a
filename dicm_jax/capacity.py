"""Room on the routes of a step, by what its first batches ask for."""

from collections.abc import Sequence

from dicm_jax.data import pipeline
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import route


def largest_groups(
  probed: Sequence[pipeline.Probed], worker: int, server: int
) -> tuple[int, int]:
  """Most ID rows and image rows that a slice asks of any owner."""
  id_group, image_group = (
    max(1, *(route.largest_group(rows, owners) for rows in asked))
    for asked, owners in (
      ([piece.id_rows for piece in probed], worker * server),
      ([piece.image_rows for piece in probed], server),
    )
  )
  return id_group, image_group


def routes(
  id_group: int,
  image_group: int,
  worker: int,
  server: int,
  *,
  ragged: bool = False,
) -> tuple[route.Route, route.Route]:
  """Routes of ids and images with room for groups of these sizes."""
  return (
    route.Route(
      name="ids",
      axes=mesh_lib.BOTH,
      owners=worker * server,
      capacity=id_group,
      spill=spill_of(id_group),
      ragged=ragged,
    ),
    route.Route(
      name="images",
      axes=(mesh_lib.SERVER,),
      owners=server,
      capacity=image_group,
      spill=spill_of(image_group),
      ragged=ragged,
    ),
  )


def spill_of(capacity: int) -> int:
  """Few batches overflow, and by little: an eighth of the first round."""
  return -(-capacity // 8)
