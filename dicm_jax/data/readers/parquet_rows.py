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
  metadata = pq.read_metadata(path)
  rows = most
  for number, words in enumerate(_longest_words(path, metadata, names)):
    group = metadata.row_group(number)
    for i in range(group.num_columns):
      column = group.column(i)
      name = column.path_in_schema
      if name.partition(".")[0] in names:
        length = words.get(name.partition(".")[0], _NUMBER)
        size = max(column.num_values * length, column.total_uncompressed_size)
        rows = min(rows, BYTES * group.num_rows // max(size, 1))
        if not rows:
          raise errors.InputError(
            f"{path}: column {name!r}: expected rows of at most "
            f"{BYTES >> 20} MB, found {size:,} bytes in {group.num_rows} rows"
          )
  return rows


def _longest_words(
  path: pathlib.Path, metadata: pq.FileMetaData, names: Sequence[str]
) -> Iterator[dict[str, int]]:
  """Bytes of the longest word in each dictionary, group by group."""
  schema = metadata.schema
  leaves = [schema.column(i) for i in range(metadata.num_columns)]
  texts = [c.path for c in leaves if c.physical_type == "BYTE_ARRAY"]
  texts = [text for text in texts if text.partition(".")[0] in names]
  columns = [text.partition(".")[0] for text in texts]
  file = pq.ParquetFile(path, read_dictionary=texts, pre_buffer=False)
  for number in range(metadata.num_row_groups):
    found = {}
    if columns and metadata.row_group(number).num_rows:
      # With its first row comes the whole dictionary.
      batches = file.iter_batches(1, row_groups=[number], columns=columns)
      batch = next(batches, None)
      found = {name: _longest(batch[name]) for name in columns} if batch else {}
    yield found


def _longest(column: pa.Array) -> int:
  while pa.types.is_list(column.type):
    column = column.flatten()
  if not pa.types.is_dictionary(column.type):
    return _NUMBER
  lengths = pc.call_function("binary_length", [column.dictionary])
  return max(pc.call_function("max", [lengths]).as_py() or 0, _NUMBER)
