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
_KEY = np.dtype(f"S{KEY_BYTES}")
_ADDED = 1 << 16
"""Keys added that are kept apart from the sorted ones, at most."""


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
  """Features of one encoder; 40 bytes of memory a picture.

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
    self._paths = sorted(folder.glob("*.parquet"))
    self._added: dict[bytes, tuple[int, int]] = {}
    """File and row of each key that is not sorted in yet."""
    keys, places = [np.zeros(0, _KEY)], [np.zeros((0, 2), np.int32)]
    for number, path in enumerate(self._paths):
      found = _read_keys(path)
      rows = np.arange(len(found), dtype=np.int32)
      keys.append(found)
      places.append(np.stack([np.full_like(rows, number), rows], axis=1))
    self._sort(np.concatenate(keys), np.concatenate(places))

  def _sort(self, keys: np.ndarray, places: np.ndarray) -> None:
    order = np.argsort(keys, kind="stable")
    self._keys, self._places = keys[order], places[order]

  def _place(self, key: bytes) -> tuple[int, int] | None:
    """File and row of a key."""
    if key in self._added:
      return self._added[key]
    wanted = np.array(key, _KEY)
    at = int(np.searchsorted(self._keys, wanted))
    if at == len(self._keys) or self._keys[at] != wanted:
      return None
    file, row = self._places[at].tolist()
    return file, row

  def read(
    self, keys: Sequence[bytes], out: Float[np.ndarray, "n F"]
  ) -> Bool[np.ndarray, " n"]:
    """Fills in the rows of the keys that are stored; says which they are."""
    found = np.zeros(len(keys), bool)
    wanted: dict[int, list[tuple[int, int]]] = {}
    for i, key in enumerate(keys):
      place = self._place(key)
      if place is not None:
        wanted.setdefault(place[0], []).append((i, place[1]))
    for number, pairs in wanted.items():
      block = self._block(self._paths[number])
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
      _warn(path, e)
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
      self._added[key] = len(self._paths), row
    self._paths.append(path)
    if len(self._added) > _ADDED:
      added = np.array(list(self._added), _KEY)
      places = np.array(list(self._added.values()), np.int32)
      self._added = {}
      # What was added stands before older places: those were damaged.
      self._sort(
        np.concatenate([added, self._keys]),
        np.concatenate([places, self._places]),
      )


def _read_keys(path: pathlib.Path) -> np.ndarray:
  try:
    keys = pq.read_table(path, columns=["key"])["key"].to_pylist()
  except (OSError, KeyError, pa.ArrowException) as e:
    _warn(path, e)
    keys = []
  return np.array(keys, _KEY)


def _warn(path: pathlib.Path, error: Exception) -> None:
  logging.warning("%s: damaged features, computed again: %s", path, error)
