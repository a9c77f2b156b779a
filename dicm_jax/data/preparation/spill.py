"""Events on their way from the log's files to the users' partitions.

Every user's events meet in one partition, by a hash of the user. Reading
writes chunks, each cut by partition, and a partition is gathered from all
chunks by memory-mapping. So a log of any size passes through bounded memory.

A chunk begins with int64 offsets, one for each partition and one for the end;
what lies between two of them is the partition's events as an Arrow message.
"""

from collections.abc import Iterable, Iterator
import pathlib
from typing import NamedTuple

from jaxtyping import Int
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dicm_jax import errors
from dicm_jax.data import files
from dicm_jax.data.preparation import vocabulary

CHUNK_ROWS, CHUNK_BYTES = 1 << 19, 128 << 20
"""Events of a chunk, at most, and their bytes about."""
_TEXT_BYTES, _GZIP_BYTES = 32, 8
"""Bytes of a short line, plain and compressed."""
_GZIP_RATIO = 8
"""Bytes of text in a compressed byte."""


class Size(NamedTuple):
  """About how much a file of the log holds; rather too much than too little."""

  events: int
  bytes: int


def estimated_size(path: pathlib.Path) -> Size:
  """Looks at the file's size, or at the footer of a Parquet file.

  Raises:
    InputError: it has no such footer.
  """
  if path.suffix == ".parquet":
    try:
      metadata = pq.read_metadata(path)
    except (OSError, UnicodeDecodeError, pa.ArrowException) as e:
      raise errors.InputError(f"{path}: cannot be read: {e}") from e
    groups = range(metadata.num_row_groups)
    total = sum(metadata.row_group(i).total_byte_size for i in groups)
    return Size(metadata.num_rows, total)
  size = path.stat().st_size
  if path.suffix == ".gz":
    return Size(size // _GZIP_BYTES, size * _GZIP_RATIO)
  return Size(size // _TEXT_BYTES, size)


def partition_of(
  users: pa.ChunkedArray, partitions: int
) -> Int[np.ndarray, " n"]:
  hashes = vocabulary.hash64(users.combine_chunks())
  return (hashes % np.uint64(partitions)).astype(np.int64)


def chunks(blocks: Iterable[pa.Table]) -> Iterator[pa.Table]:
  """Joins blocks to chunks of bounded size."""
  waiting: list[pa.Table] = []
  for block in blocks:
    waiting.append(block)
    if (
      sum(map(len, waiting)) >= CHUNK_ROWS
      or sum(table.nbytes for table in waiting) >= CHUNK_BYTES
    ):
      yield pa.concat_tables(waiting)
      waiting = []
  if waiting:
    yield pa.concat_tables(waiting)


def write_chunk(path: pathlib.Path, events: pa.Table, partitions: int) -> None:
  """Writes events cut by partition, all or nothing."""
  number = partition_of(events["user"], partitions)
  order = np.argsort(number, kind="stable")
  events = events.take(pa.array(order))
  ends = np.searchsorted(number[order], np.arange(partitions), "right").tolist()
  offsets = np.empty(partitions + 1, np.int64)
  with files.whole(path) as part, part.open("wb") as out:
    out.seek(offsets.nbytes)
    start = 0
    for i, end in enumerate(ends):
      offsets[i] = out.tell()
      if end > start:
        (batch,) = (
          events.slice(start, end - start).combine_chunks().to_batches()
        )
        out.write(batch.serialize())
      start = end
    offsets[partitions] = out.tell()
    out.seek(0)
    out.write(offsets.tobytes())


def gather(
  paths: Iterable[pathlib.Path], partition: int, schema: pa.Schema
) -> pa.Table:
  """One partition's events from all chunks.

  Args:
    paths: the chunks.
    partition: number of the partition.
    schema: of the events.
  """
  found = []
  for path in paths:
    with pa.memory_map(str(path)) as file:
      bounds = file.read_at(16, 8 * partition)
      start, end = np.frombuffer(bounds, np.int64).tolist()
      if end > start:
        file.seek(start)
        message = file.read_buffer(end - start)
        found.append(pa.ipc.read_record_batch(message, schema))
  return pa.Table.from_batches(found, schema)
