"""Precomputed features by image key: Parquet, npy or safetensors."""

from collections.abc import Collection, Iterator
import pathlib

from jaxtyping import Float
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open

from dicm_jax import errors
from dicm_jax.data import source
from dicm_jax.data.readers import pictures

BLOCK = 4096
FEATURE_COLUMNS = ("features", "feature", "embedding", "vector", "embeddings")
TENSOR = "features"

Block = tuple[list[str], Float[np.ndarray, "n F"]]


def open_vectors(path: pathlib.Path) -> source.Vectors:
  """Opens a matrix of features.

  `.parquet`: a column of keys and one of lists of numbers. `.npy`: a matrix;
  `.safetensors`: a matrix named "features". The last two take their keys from
  a text file beside them, `NAME.ids.txt`, a key a line; without it keys are the
  numbers of the rows, from 0.

  Raises:
    InputError: the file is none of these, cannot be read, or its keys are not
      as many as its rows.
  """
  if not path.exists():
    raise errors.InputError(f"--vectors: {path} does not exist")
  if path.suffix == ".parquet":
    return Table(path)
  if path.suffix == ".npy":
    return Matrix(path, _npy(path))
  if path.suffix == ".safetensors":
    return Matrix(path, _safetensors(path))
  raise errors.InputError(
    f"--vectors: {path}: expected a .parquet, .npy or .safetensors file"
  )


def _npy(path: pathlib.Path) -> np.ndarray:
  try:
    return np.load(path, mmap_mode="r", allow_pickle=False)
  except (OSError, ValueError, EOFError) as e:
    raise errors.InputError(f"{path}: no matrix of numbers: {e}") from e


def _safetensors(path: pathlib.Path) -> np.ndarray:
  try:
    with safe_open(path, "numpy") as file:
      names = list(file.keys())
      if TENSOR not in names:
        raise errors.InputError(
          f"{path}: expected a tensor {TENSOR!r}, found {', '.join(names)}"
        )
      return file.get_tensor(TENSOR)
  except (OSError, SafetensorError) as e:
    raise errors.InputError(f"{path}: no safetensors file: {e}") from e


class Matrix:
  """Rows of a matrix, with keys beside them."""

  def __init__(self, path: pathlib.Path, matrix: np.ndarray):
    if matrix.ndim != 2 or matrix.dtype.kind != "f":
      raise errors.InputError(
        f"{path}: expected a matrix of floating-point numbers, found "
        f"{matrix.dtype} {list(matrix.shape)}"
      )
    self._path, self._matrix = path, matrix
    self.width = matrix.shape[1]
    self._keys = _keys_beside(path, len(matrix))

  def keys(self) -> Iterator[str]:
    return pictures.unique(
      (key, f"{self._path}, row {row}") for row, key in enumerate(self._keys)
    )

  def read(self, wanted: Collection[str]) -> Iterator[Block]:
    for start in range(0, len(self._keys), BLOCK):
      keys = self._keys[start : start + BLOCK]
      rows = [i for i, key in enumerate(keys) if key in wanted]
      if rows:
        found = np.asarray(
          self._matrix[start : start + BLOCK][rows], np.float32
        )
        _check_finite(found, self._path, start + np.array(rows))
        yield [keys[i] for i in rows], found


def _keys_beside(path: pathlib.Path, rows: int) -> list[str]:
  file = path.with_suffix(".ids.txt")
  if not file.exists():
    return [str(row) for row in range(rows)]
  keys = file.read_text().splitlines()
  if len(keys) != rows:
    raise errors.InputError(
      f"{file}: expected {rows} keys, one for each row of {path.name}; found "
      f"{len(keys)}"
    )
  return keys


class Table:
  """A Parquet file with a column of keys and one of lists of numbers."""

  def __init__(self, path: pathlib.Path):
    self._path = path
    names = pq.ParquetFile(path).schema_arrow.names
    self._key = pictures.first_of(pictures.KEY_COLUMNS, names, path, "keys")
    self._column = pictures.first_of(FEATURE_COLUMNS, names, path, "features")
    self.width = self._width()

  def _width(self) -> int:
    file = pq.ParquetFile(self._path)
    batch = next(file.iter_batches(1, columns=[self._column]), None)
    if batch is None:
      raise errors.InputError(f"{self._path}: expected rows, found none")
    return len(batch[self._column][0].as_py() or ())

  def keys(self) -> Iterator[str]:
    column = pq.read_table(self._path, columns=[self._key])[self._key]
    keys = column.cast(pa.string()).to_pylist()
    return pictures.unique(
      (key, f"{self._path}, row {row}") for row, key in enumerate(keys)
    )

  def read(self, wanted: Collection[str]) -> Iterator[Block]:
    first = 0
    columns = [self._key, self._column]
    for batch in pq.ParquetFile(self._path).iter_batches(
      BLOCK, columns=columns
    ):
      keys = batch[self._key].cast(pa.string()).to_pylist()
      rows = [i for i, key in enumerate(keys) if key in wanted]
      if rows:
        taken = batch[self._column].take(pa.array(rows))
        where = first + np.array(rows)
        yield [keys[i] for i in rows], self._vectors(taken, where)
      first += len(keys)

  def _vectors(self, lists: pa.Array, rows) -> Float[np.ndarray, "n F"]:
    if pa.types.is_fixed_size_list(lists.type):
      lists = lists.cast(pa.list_(lists.type.value_type))
    lengths = lists.value_lengths().fill_null(0).to_numpy()
    if (lengths != self.width).any():
      k = int(np.flatnonzero(lengths != self.width)[0])
      raise errors.InputError(
        f"{self._path}, row {rows[k]}: expected {self.width} numbers, as in "
        f"row 0; found {lengths[k]}"
      )
    numbers = lists.flatten().to_numpy(zero_copy_only=False)
    found = numbers.astype(np.float32).reshape(-1, self.width)
    _check_finite(found, self._path, rows)
    return found


def _check_finite(found, path, rows) -> None:
  wrong = ~np.isfinite(found).all(axis=1)
  if wrong.any():
    row = int(rows[np.flatnonzero(wrong)[0]])
    raise errors.InputError(f"{path}, row {row}: expected finite numbers")
