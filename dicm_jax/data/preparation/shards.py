"""The shards of a partition, and what the manifest must know of them."""

from collections.abc import Iterable, Mapping
import contextlib
import pathlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dicm_jax.data import files
from dicm_jax.data import schema as schema_lib
from dicm_jax.data.preparation import encode


class Sums:
  """Counts of a partition's samples, and moments of its dense numbers.

  Attributes:
    splits: groups, samples and clicks by split.
    dense: count, sum and sum of squares of each dense number in training.
  """

  def __init__(self, schema: schema_lib.Schema, splits: Iterable[str]):
    self.splits = {
      name: {"groups": 0, "samples": 0, "clicks": 0} for name in splits
    }
    self._fields = [f for f in schema.feature if f.kind == "dense"]
    self.dense = {f.name: np.zeros((3, f.width)) for f in self._fields}

  def add(self, split: str, part: pa.Table) -> None:
    label = part["label"].combine_chunks().flatten().to_numpy()
    counts = self.splits[split]
    counts["groups"] += len(part)
    counts["samples"] += len(label)
    counts["clicks"] += int((label == 1).sum())
    for field in self._fields if split == "train" else ():
      values = part[field.name].combine_chunks()
      while pa.types.is_list(values.type):
        values = values.flatten()
      numbers = values.to_numpy(zero_copy_only=False).astype(np.float64)
      numbers = numbers.reshape(-1, field.width)
      seen = np.isfinite(numbers)
      numbers = np.where(seen, numbers, 0)
      moments = (seen.sum(0), numbers.sum(0), (numbers**2).sum(0))
      self.dense[field.name] += np.array(moments)


def write(
  made: Iterable[tuple[pa.Table, encode.Tally]],
  paths: Mapping[str, pathlib.Path],
  schema: schema_lib.Schema,
) -> dict[str, Any]:
  """Writes lines to the shards of their splits, each all or nothing.

  Args:
    made: what `encode.encode` yields; at least once.
    paths: of the shards `train` and `test`.
    schema: of the log.

  Returns:
    Tally, counts by split, and moments of dense numbers.
  """
  tally, sums = encode.Tally(), Sums(schema, paths)
  with contextlib.ExitStack() as stack:
    writers: dict[str, pq.ParquetWriter] = {}
    for table, more in made:
      tally.update(more)
      test = table["test"].to_numpy()
      lines = table.drop_columns(["test"])
      for name, path in paths.items():
        if name not in writers:
          part = stack.enter_context(files.whole(path))
          writer = pq.ParquetWriter(part, lines.schema)
          writers[name] = stack.enter_context(writer)
        here = lines.filter(pa.array(test if name == "test" else ~test))
        sums.add(name, here)
        if len(here):
          writers[name].write_table(here)
  return {
    "tally": dict(tally),
    "splits": sums.splits,
    "dense": {name: found.tolist() for name, found in sums.dense.items()},
  }
