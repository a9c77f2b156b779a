"""Embeddings of a data set's pictures by a trained encoder, as one table.

A picture that this encoder has seen before, in any data set, comes from the
cache, so that a catalogue that grew costs what is new in it.
"""

import pathlib

from dicm_jax import config as config_lib
from dicm_jax import experiment, features, progress
from dicm_jax.data import vectors
from dicm_jax.model import backbone as backbone_lib


def embed(encoder: pathlib.Path, data: str, out: pathlib.Path) -> None:
  """Writes the table of embeddings by the pictures' keys, see `data.vectors`.

  Args:
    encoder: folder of the run that trained it, or its file.
    data: folder of a prepared data set; "" for the built-in sample.
    out: the file to write.

  Raises:
    InputError: no such encoder or data set, or a picture is damaged.
  """
  made = backbone_lib.make(backbone_lib.TRAINED, weights=str(encoder))
  given = experiment.load_data(config_lib.Data(path=data))
  found = features.frozen_features(
    given.image_bytes,
    given.image_names,
    made,
    cache_dir=features.cache_dir(),
    on_progress=progress.Counter("embeddings").part(),
  )
  rows = [i for i in range(len(found)) if i != given.no_image]
  vectors.write(
    out,
    vectors.Vectors(
      keys=tuple(given.image_names[i] for i in rows),
      values=found[rows],
      encoder=made.name,
      digest=made.digest,
    ),
  )
