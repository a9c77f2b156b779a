"""What the vectors of a data set's pictures are made of: their digests.

A picture that was exchanged under the same key is known by them, and neither
decoded nor encoded for it.
"""

from collections.abc import Iterable
import hashlib
import pathlib

from jaxtyping import UInt8
import numpy as np

from dicm_jax.data import click_log, feature_files, image_store


def of(data: click_log.Dataset, path: str) -> UInt8[np.ndarray, "I 32"]:
  """Digest of each image row's source.

  Args:
    data: the data set.
    path: folder of the prepared data; "" for one that lies in memory.
  """
  if path:
    return of_prepared(pathlib.Path(path))[1]
  return of_pictures(data.image_bytes)


def of_prepared(
  path: pathlib.Path,
) -> tuple[list[str], UInt8[np.ndarray, "I 32"]]:
  """Keys of a prepared data set's image rows, and the same, from its files.

  Raises:
    InputError: a file is damaged.
  """
  if (path / image_store.FOLDER).exists():
    return image_store.sources(path / image_store.FOLDER)
  keys, found = feature_files.image_keys(path), feature_files.digests(path)
  # Titles alone: nothing that could be compared.
  return keys, np.zeros((len(keys), 32), np.uint8) if found is None else found


def of_pictures(
  pictures: Iterable[bytes],
) -> UInt8[np.ndarray, "n 32"]:
  """The same of encoded pictures, one in memory."""
  found = b"".join(hashlib.sha256(one).digest() for one in pictures)
  return np.frombuffer(found, np.uint8).reshape(-1, 32)
