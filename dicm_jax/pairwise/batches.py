"""Batches of pairs, their pictures decoded and changed ahead of time."""

from collections.abc import Iterator

import grain
from jax.sharding import Mesh
import numpy as np

from dicm_jax.data import augment, click_log, pairs
from dicm_jax.pairwise import pictures as pictures_lib
from dicm_jax.pairwise.anchors import Anchors, Batch
from dicm_jax.pairwise.config import Config
from dicm_jax.sharding import mesh as mesh_lib


def stream(
  config: Config,
  data: click_log.Dataset,
  anchors: Anchors,
  order: pairs.Order,
  mesh: Mesh,
  first_step: int,
  end_step: int,
) -> Iterator[Batch]:
  """Batches of steps [first_step, end_step), laid over the mesh.

  Batch k is a pure function of seed and k, whatever the mesh; each process
  decodes the pictures of its own devices alone.
  """
  roles = anchors.roles
  numbers = np.arange(roles * config.train.batch_size).reshape(roles, -1)
  by_device = np.stack(np.split(numbers, mesh.size, axis=1))
  mine = by_device[mesh_lib.my_devices(mesh)]
  my_pairs = mine[:, 0]  # Pictures of the first role count the pairs.
  decoded = pictures_lib.Decoded(data, config.encoder.image_size)

  def make(step: int) -> Batch:
    drawn = order(step)
    rows = np.concatenate(drawn[-roles:])
    pictures = decoded(rows[mine.reshape(-1)])
    if config.pairs.shift:
      pictures = _changed(config, pictures, mine.reshape(-1), len(rows), step)
    return Batch(
      pictures.reshape(*mine.shape, *pictures.shape[1:]),
      anchors.tokens(drawn.anchor[my_pairs]),
    )

  steps = grain.MapDataset.range(first_step, end_step).map(make)
  options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
  for batch in steps.to_iter_dataset(options):
    yield mesh_lib.put_slices(mesh, batch)


def _changed(config: Config, pictures, mine, count: int, step: int):
  """Augmented pictures, the draws those of the whole batch."""
  rng = np.random.Generator(np.random.Philox(key=[config.seed, step]))
  drawn = augment.draw(count, config.pairs.shift, rng)
  return augment.apply(
    pictures, augment.Changes(*(part[mine] for part in drawn))
  )
