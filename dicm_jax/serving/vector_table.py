"""Vectors of a table's rows as Parquet, in fewer bytes if so wanted."""

from collections.abc import Mapping
import pathlib

from jaxtyping import Float
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dicm_jax import errors
from dicm_jax.data import files, quantise

VECTOR, SCALE = "vector", "scale"


def write(
  path: pathlib.Path,
  columns: Mapping[str, pa.Array],
  vectors: Float[np.ndarray, "R D"],
  dtype: str,
  about: Mapping[str, str] | None = None,
) -> None:
  """Writes a row of the file for each vector.

  Args:
    path: of the file.
    columns: what stands before the vectors.
    vectors: finite.
    dtype: in which they are stored, one of quantise.DTYPES; int8 has a column
      `scale` by which a row's numbers are to be multiplied.
    about: metadata of the file.

  Raises:
    InputError: a number is too large for the type.
  """
  packed = quantise.pack(vectors, dtype)
  flat = pa.array(np.ascontiguousarray(packed.values).reshape(-1))
  lists = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
  table = {**columns, VECTOR: lists}
  if packed.scale is not None:
    table[SCALE] = pa.array(packed.scale)
  made = pa.table(table).replace_schema_metadata(dict(about or {}))
  files.write_parquet(path, made)


def read(
  path: pathlib.Path, rows: int, width: int
) -> tuple[pa.Table, Float[np.ndarray, "R D"]]:
  """The columns of a file of `write`, and the vectors as float32.

  Args:
    path: of the file.
    rows: expected.
    width: of a vector, expected.

  Raises:
    InputError: the file is no such table, or of another size.
  """
  try:
    table = pq.read_table(path)
    lists = table[VECTOR].combine_chunks()
    values = lists.flatten().to_numpy(zero_copy_only=False)
    scale = table[SCALE].to_numpy() if SCALE in table.column_names else None
  except (OSError, KeyError, pa.ArrowException) as e:
    raise errors.InputError(f"{path}: no table of vectors: {e}") from e
  if len(values) != rows * width or len(table) != rows:
    raise errors.InputError(
      f"{path}: expected {rows} vectors of {width} numbers, found {len(table)} "
      f"with {len(values)} numbers"
    )
  packed = quantise.Packed(values.reshape(rows, width), scale)
  found = quantise.unpack(packed)
  if not np.isfinite(found).all():
    raise errors.InputError(f"{path}: some numbers are not finite")
  return table, found
