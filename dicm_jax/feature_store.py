"""A folder of frozen features by picture, filled by any number of runs.

One folder for each encoder. A file holds a block of features and the SHA-256
of the pictures' bytes; it is written as a whole and never changed, so runs may
share the folder. Readable with pyarrow alone: columns `key` and `features`.
"""

from collections.abc import Iterator, Sequence
import contextlib
import hashlib
import pathlib

from absl import logging
from jaxtyping import Bool, Float
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dicm_jax import errors
from dicm_jax.data import files

KEY_BYTES = 32


def key_of(picture: bytes) -> bytes:
  """SHA-256 of a picture's encoded bytes."""
  return hashlib.sha256(picture).digest()


@contextlib.contextmanager
def _writing(folder: pathlib.Path) -> Iterator[None]:
  try:
    yield
  except OSError as e:
    raise errors.InputError(
      f"{folder}: the cache of features cannot be written: {e.strerror or e}; "
      "set XDG_CACHE_HOME to a folder that can"
    ) from e


class Store:
  """Features of one encoder.

  Args:
    folder: made if missing.
    width: F, numbers of a vector.

  Raises:
    InputError: the folder cannot be made.
  """

  def __init__(self, folder: pathlib.Path, width: int):
    with _writing(folder):
      folder.mkdir(parents=True, exist_ok=True)
    self._folder, self._width = folder, width
    self._place: dict[bytes, tuple[pathlib.Path, int]] = {}
    for path in sorted(folder.glob("*.parquet")):
      for row, key in enumerate(self._keys(path)):
        self._place.setdefault(key, (path, row))

  def _keys(self, path: pathlib.Path) -> list[bytes]:
    try:
      return pq.read_table(path, columns=["key"])["key"].to_pylist()
    except (OSError, KeyError, pa.ArrowException) as e:
      logging.warning("%s: damaged features, computed again: %s", path, e)
      return []

  def read(
    self, keys: Sequence[bytes], out: Float[np.ndarray, "n F"]
  ) -> Bool[np.ndarray, " n"]:
    """Fills in the rows of the keys that are stored; says which they are."""
    found = np.zeros(len(keys), bool)
    wanted: dict[pathlib.Path, list[tuple[int, int]]] = {}
    for i, key in enumerate(keys):
      if key in self._place:
        path, row = self._place[key]
        wanted.setdefault(path, []).append((i, row))
    for path, pairs in wanted.items():
      block = self._block(path)
      if block is not None:
        into, rows = np.array(pairs).T
        out[into] = block[rows]
        found[into] = True
    return found

  def _block(self, path: pathlib.Path) -> Float[np.ndarray, "n F"] | None:
    """A file's features; None if it is damaged."""
    try:
      lists = pq.read_table(path)["features"].combine_chunks()
      block = lists.flatten().to_numpy().reshape(len(lists), -1)
      if block.shape[1] != self._width or block.dtype != np.float32:
        raise ValueError(
          f"expected {self._width} float32 a row; found {block.shape[1]} "
          f"{block.dtype}"
        )
      if not np.isfinite(block).all():
        raise ValueError("expected finite numbers")
    except (OSError, KeyError, ValueError, pa.ArrowException) as e:
      logging.warning("%s: damaged features, computed again: %s", path, e)
      return None
    return block

  def add(
    self, keys: Sequence[bytes], features: Float[np.ndarray, "n F"]
  ) -> None:
    """Writes a block; its file is named by its keys.

    Raises:
      InputError: it cannot be written.
    """
    name = hashlib.sha256(b"".join(keys)).hexdigest()[:32]
    path = self._folder / f"{name}.parquet"
    flat = pa.array(features.reshape(-1))
    table = pa.table(
      {
        "key": pa.array(keys, pa.binary(KEY_BYTES)),
        "features": pa.FixedSizeListArray.from_arrays(flat, self._width),
      }
    )
    with _writing(self._folder):
      files.write_parquet(path, table)
    for row, key in enumerate(keys):
      self._place[key] = path, row
