"""How many rows of a Parquet file fit into memory at a time.

A file of a MB can hold 60 GB: a long word, once in a dictionary, and its number
thousands of times. What a row takes is known before it is read: from the
lengths of the words in the dictionaries, and from the sizes in the footer.
"""

from collections.abc import Iterator, Sequence
import pathlib

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dicm_jax import errors

BYTES = 256 << 20
"""Of a block of rows, at most."""
_NUMBER = 8
"""Bytes of a value that is no text."""


def fitting(path: pathlib.Path, names: Sequence[str], most: int) -> int:
  """Rows that can be read at a time, 1 to `most`.

  Args:
    path: of the file.
    names: columns that are read.
    most: rows, however short.

  Raises:
    InputError: one row alone takes more than `BYTES`.
    OSError, pa.ArrowException: the file cannot be read.
  """
  file = _open(path, names)
  metadata, rows = file.metadata, most
  columns = {i: name for i, name in _leaves(metadata.schema) if name in names}
  for number in range(metadata.num_row_groups):
    group = metadata.row_group(number)
    # With its first row comes the whole dictionary. And of a damaged footer
    # reading tells by an error, while to ask for `column(i)` ends the process.
    batches = file.iter_batches(1, row_groups=[number], columns=list(names))
    batch = next(batches, None)
    if batch is None:
      continue
    for i, name in columns.items():
      column, expected = group.column(i), metadata.schema.column(i).path
      if column.path_in_schema != expected:
        raise errors.InputError(
          f"{path}: damaged footer: expected column {expected!r} in row group "
          f"{number}, found {column.path_in_schema!r}"
        )
      size = max(
        column.num_values * _longest(batch[name]),
        column.total_uncompressed_size,
      )
      rows = min(rows, BYTES * group.num_rows // max(size, 1))
      if not rows:
        raise errors.InputError(
          f"{path}: column {name!r}: expected rows of at most "
          f"{BYTES >> 20} MB, found {size:,} bytes in {group.num_rows} rows"
        )
  return rows


def _leaves(schema: pq.ParquetSchema) -> Iterator[tuple[int, str]]:
  """Numbers of the stored columns, and the column that each is a part of."""
  for i in range(len(schema)):
    yield i, schema.column(i).path.partition(".")[0]


def _open(path: pathlib.Path, names: Sequence[str]) -> pq.ParquetFile:
  """A file whose texts are read as dictionaries and numbers of words."""
  schema = pq.read_metadata(path).schema
  texts = [
    schema.column(i).path
    for i, name in _leaves(schema)
    if name in names and schema.column(i).physical_type == "BYTE_ARRAY"
  ]
  return pq.ParquetFile(path, read_dictionary=texts, pre_buffer=False)


def _longest(column: pa.Array) -> int:
  while pa.types.is_list(column.type):
    column = column.flatten()
  if not pa.types.is_dictionary(column.type):
    return _NUMBER
  lengths = pc.call_function("binary_length", [column.dictionary])
  return max(pc.call_function("max", [lengths]).as_py() or 0, _NUMBER)
