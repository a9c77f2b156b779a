"""Precomputed features by image key: Parquet, npy or safetensors."""

import collections
from collections.abc import Collection, Iterator
import pathlib

from jaxtyping import Float
import numpy as np
import pyarrow as pa
from safetensors import safe_open

from dicm_jax import errors
from dicm_jax.data import source
from dicm_jax.data.readers import pictures, values

BLOCK = 4096
FEATURE_COLUMNS = ("features", "feature", "embedding", "vector", "embeddings")
TENSOR = "features"
_ANY = pa.list_(pa.float32())

Block = tuple[list[str], Float[np.ndarray, "n F"]]


def open_vectors(path: pathlib.Path, bad: source.Bad) -> source.Vectors:
  """Opens a matrix of features.

  `.parquet`: a column of keys and one of lists of numbers. `.npy`: a matrix;
  `.safetensors`: a matrix named "features". The last two take their keys from
  a text file beside them, `NAME.ids.txt`, a key a line; without it keys are the
  numbers of the rows, from 0.

  Args:
    path: of the file.
    bad: is told of keys that occur twice, the first of which counts, and of
      vectors of another width or not finite, when they are read.

  Raises:
    InputError: the file is none of these, cannot be read, or its keys are not
      as many as its rows; or a key occurs twice and `bad` says stop.
  """
  if not path.exists():
    raise errors.InputError(f"--vectors: {path} does not exist")
  if path.suffix == ".parquet":
    return Table(path, bad)
  if path.suffix == ".npy":
    return Matrix(path, _npy(path), bad)
  if path.suffix == ".safetensors":
    return Matrix(path, _safetensors(path), bad)
  raise errors.InputError(
    f"--vectors: {path}: expected a .parquet, .npy or .safetensors file"
  )


def _npy(path: pathlib.Path) -> np.ndarray:
  try:
    with path.open("rb") as file:
      np.lib.format.read_magic(file)  # Else `load` takes archives as well.
    return np.load(path, mmap_mode="r", allow_pickle=False)
  # A header is a Python literal, and a broken one breaks in many ways.
  except Exception as e:
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
  except errors.InputError:
    raise
  # Of types that NumPy lacks, what is raised depends on what is installed.
  except Exception as e:
    raise errors.InputError(f"{path}: no safetensors file: {e}") from e


class Matrix:
  """Rows of a matrix, with keys beside them."""

  def __init__(self, path: pathlib.Path, matrix: np.ndarray, bad: source.Bad):
    if matrix.ndim != 2 or matrix.dtype.kind != "f" or not matrix.shape[1]:
      raise errors.InputError(
        f"{path}: expected a matrix of floating-point numbers, found "
        f"{matrix.dtype} {list(matrix.shape)}"
      )
    self._matrix = matrix
    self.width = matrix.shape[1]
    self._rows = _keys_beside(path, len(matrix))
    self._wrong = _Wrong(path, bad)
    self._keys = _distinct(path, self._rows, bad)

  def keys(self) -> Iterator[str]:
    return iter(self._keys)

  def read(self, wanted: Collection[str]) -> Iterator[Block]:
    left = set(self._keys).intersection(wanted)
    for start in range(0, len(self._rows), BLOCK):
      keys = self._rows[start : start + BLOCK]
      rows = _first(keys, left)
      part = self._matrix[start : start + BLOCK][rows]
      with np.errstate(over="ignore"):  # What becomes infinite is reported.
        found = np.asarray(part, np.float32)
      yield from self._wrong.without(
        found, [keys[i] for i in rows], start, rows
      )


def _keys_beside(path: pathlib.Path, rows: int) -> list[str]:
  file = path.with_suffix(".ids.txt")
  if not file.exists():
    return [str(row) for row in range(rows)]
  try:
    keys = file.read_text(encoding="utf-8").splitlines()
  except (OSError, UnicodeDecodeError) as e:
    raise errors.InputError(f"{file}: cannot be read: {e}") from e
  if len(keys) != rows:
    raise errors.InputError(
      f"{file}: expected {rows} keys, one for each row of {path.name}; found "
      f"{len(keys)}"
    )
  return keys


def _distinct(path, keys: list[str], bad: source.Bad) -> list[str]:
  places = ((key, path, f"row {row}") for row, key in enumerate(keys))
  return pictures.distinct(places, bad)


def _first(keys: list[str], left: set[str]) -> list[int]:
  """Rows of the keys that are left, which then are not."""
  rows = []
  for row, key in enumerate(keys):
    if key in left:
      left.remove(key)
      rows.append(row)
  return rows


class _Wrong:
  """Rows that are wrong: each is reported once, however often it is read."""

  def __init__(self, path: pathlib.Path, bad: source.Bad):
    self._path, self._bad = path, bad
    self._reported: set[int] = set()

  def report(self, row: int, what: str) -> None:
    if row not in self._reported:
      self._bad.report(self._path, f"row {row}", what)
      self._reported.add(row)

  def without(
    self, found: Float[np.ndarray, "n F"], keys: list[str], first: int, rows
  ) -> Iterator[Block]:
    """The block without vectors that are not finite."""
    right: np.ndarray = np.asarray(np.isfinite(found).all(axis=1))
    for i in np.flatnonzero(~right).tolist():
      what = f"image key {keys[i]!r}: expected finite numbers"
      self.report(first + rows[i], what)
    if right.any():
      yield [k for k, r in zip(keys, right, strict=True) if r], found[right]


class Table:
  """A Parquet file with a column of keys and one of lists of numbers."""

  def __init__(self, path: pathlib.Path, bad: source.Bad):
    self._path = path
    found = pictures.open_parquet(path).schema_arrow
    names = found.names
    self._key = pictures.first_of(pictures.KEY_COLUMNS, names, path, "keys")
    self._column = pictures.first_of(FEATURE_COLUMNS, names, path, "features")
    kind = found.field(self._column).type
    if not values.is_list(kind) or not _is_number(kind.value_type):
      raise errors.InputError(
        f"{path}: column {self._column!r}: expected lists of numbers, found "
        f"{kind}"
      )
    self._wrong = _Wrong(path, bad)
    self.width = self._width()
    self._keys = _distinct(path, pictures.parquet_keys(path, self._key), bad)

  def _width(self) -> int:
    """The commonest length of the first rows' lists."""
    batches = pictures.batches(self._path, BLOCK, [self._column])
    batch = next(batches, None)
    lists = _lists(batch[self._column]) if batch else pa.array([], _ANY)
    lengths = lists.value_lengths().drop_null().to_pylist()
    if not lengths:
      raise errors.InputError(f"{self._path}: expected vectors, found none")
    width = collections.Counter(lengths).most_common(1)[0][0]
    if not width:
      raise errors.InputError(
        f"{self._path}: column {self._column!r}: expected numbers, found most "
        "lists empty"
      )
    return width

  def keys(self) -> Iterator[str]:
    return iter(self._keys)

  def read(self, wanted: Collection[str]) -> Iterator[Block]:
    left = set(self._keys).intersection(wanted)
    first = 0
    columns = [self._key, self._column]
    for batch in pictures.batches(self._path, BLOCK, columns):
      keys = batch[self._key].cast(pa.string()).to_pylist()
      rows = self._of_width(batch, first, _first(keys, left))
      lists = _lists(batch[self._column].take(pa.array(rows, pa.int64())))
      numbers = lists.flatten().to_numpy(zero_copy_only=False)
      with np.errstate(over="ignore"):  # What becomes infinite is reported.
        found = numbers.astype(np.float32).reshape(-1, self.width)
      yield from self._wrong.without(
        found, [keys[i] for i in rows], first, rows
      )
      first += len(keys)

  def _of_width(self, batch, first: int, rows: list[int]) -> list[int]:
    lengths = _lists(batch[self._column]).value_lengths().fill_null(0)
    lengths = lengths.to_numpy()
    for row in rows:
      if lengths[row] != self.width:
        what = f"expected {self.width} numbers, as most have"
        self._wrong.report(first + row, f"{what}; found {lengths[row]}")
    return [row for row in rows if lengths[row] == self.width]


def _lists(column: pa.Array) -> pa.Array:
  return column.cast(pa.list_(column.type.value_type))


def _is_number(kind: pa.DataType) -> bool:
  return pa.types.is_floating(kind) or pa.types.is_integer(kind)
