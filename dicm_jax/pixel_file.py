"""Pictures decoded once into a file, whose rows are read when wanted."""

import hashlib
import pathlib

from jaxtyping import UInt8
import numpy as np

from dicm_jax import errors, progress
from dicm_jax.data import click_log, held_rows
from dicm_jax.data import images as images_lib

BLOCK = 256
"""Pictures decoded at a time."""


def mapped(
  data: click_log.Dataset, size: int, cache_dir: pathlib.Path
) -> UInt8[np.ndarray, "R size size 3"]:
  """The data set's pictures, from the cache or decoded into it.

  Args:
    data: with pictures.
    size: side of the squares in pixels.
    cache_dir: the file's folder is made in it.

  Raises:
    InputError: a picture cannot be decoded, or the file cannot be written, or
      is there and damaged.
  """
  path = cache_dir / "pixels" / f"{_digest(data, size)}.npy"
  count = len(data.image_bytes)
  tell = progress.Counter("pictures decoded").part()

  def blocks():
    for first in range(0, count, BLOCK):
      rows = range(first, min(first + BLOCK, count))
      yield images_lib.decode_rows(
        data.image_bytes, data.image_names, rows, size
      )
      tell(rows.stop, count)

  shape, dtype = (count, size, size, 3), np.dtype(np.uint8)
  if not path.exists():
    try:
      held_rows.write(path, blocks(), shape, dtype)
    except OSError as e:
      raise errors.InputError(
        f"{path}: cannot be written: {e.strerror or e}; set XDG_CACHE_HOME to "
        "a folder that can"
      ) from e
  return held_rows.mapped(path, shape, dtype)


def _digest(data: click_log.Dataset, size: int) -> str:
  """Of all that decides the pixels."""
  found = hashlib.sha256(f"{images_lib.VERSION} {size}".encode())
  for picture in data.image_bytes:
    found.update(hashlib.sha256(picture).digest())
  return found.hexdigest()
