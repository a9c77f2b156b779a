"""Events on their way from the log's files to the users' partitions.

Every user's events meet in one partition, by a hash of the user. Reading
writes chunks, each ordered by partition, and a partition is gathered from all
chunks by memory-mapping. So a log of any size passes through bounded memory.
"""

from collections.abc import Iterable, Iterator, Sequence
import json
import os
import pathlib

from jaxtyping import Int
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dicm_jax.data.preparation import vocabulary

CHUNK_ROWS = 1 << 19
"""Events of a chunk, at most: some 100 MB."""
_TEXT_BYTES, _GZIP_BYTES = 32, 8
"""Bytes of a short line, plain and compressed."""
_PARTITIONS = b"partitions"


def estimated_events(path: pathlib.Path) -> int:
  """About how many events a file holds; rather too many than too few."""
  if path.suffix == ".parquet":
    return pq.ParquetFile(path).metadata.num_rows
  size = path.stat().st_size
  return size // _GZIP_BYTES if path.suffix == ".gz" else size // _TEXT_BYTES


def partition_of(
  users: pa.ChunkedArray, partitions: int
) -> Int[np.ndarray, " n"]:
  hashes = vocabulary.hash64(users.combine_chunks())
  return (hashes % np.uint64(partitions)).astype(np.int64)


def chunks(
  blocks: Iterable[pa.Table], partitions: int
) -> Iterator[tuple[list[int], list[pa.RecordBatch]]]:
  """Joins blocks to chunks and cuts those into a batch for each partition.

  Yields:
    Numbers of the partitions that occur, and their events.
  """
  waiting: list[pa.Table] = []
  for block in blocks:
    waiting.append(block)
    if sum(map(len, waiting)) >= CHUNK_ROWS:
      yield _cut(pa.concat_tables(waiting), partitions)
      waiting = []
  if waiting:
    yield _cut(pa.concat_tables(waiting), partitions)


def _cut(table: pa.Table, partitions: int):
  number = partition_of(table["user"], partitions)
  order = np.argsort(number, kind="stable")
  table = table.take(pa.array(order)).combine_chunks()
  found, starts = np.unique(number[order], return_index=True)
  ends = [*starts[1:].tolist(), len(table)]
  batches = [
    table.slice(start, end - start).combine_chunks().to_batches()[0]
    for start, end in zip(starts.tolist(), ends, strict=True)
  ]
  return found.tolist(), batches


def write_chunk(
  path: pathlib.Path, numbers: Sequence[int], batches: Sequence[pa.RecordBatch]
) -> None:
  """Writes a chunk as an Arrow file, all or nothing."""
  part = path.with_suffix(".part")
  schema = batches[0].schema.with_metadata(
    {_PARTITIONS: json.dumps(list(numbers))}
  )
  with pa.OSFile(str(part), "wb") as out, pa.ipc.new_file(out, schema) as file:
    for batch in batches:
      file.write_batch(batch.replace_schema_metadata(None))
  os.replace(part, path)


def gather(paths: Iterable[pathlib.Path], partition: int) -> pa.Table | None:
  """One partition's events from all chunks; None where there are none."""
  found = []
  for path in paths:
    with pa.memory_map(str(path)) as source:
      file = pa.ipc.open_file(source)
      numbers = json.loads(file.schema.metadata[_PARTITIONS])
      if partition in numbers:
        batch = file.get_batch(numbers.index(partition))
        found.append(batch.replace_schema_metadata(None))
  return pa.Table.from_batches(found) if found else None
