"""A preparation: what from, where to, and where its tasks keep their files."""

import dataclasses
import json
import pathlib
from typing import Any

from dicm_jax.data import schema as schema_lib
from dicm_jax.data import source
from dicm_jax.data.preparation import spill

MANIFEST = "manifest.json"
WORK = ".work"
SPLITS = ("train", "test")
PARTITION_EVENTS = 1 << 19
"""Events of a partition, aimed at: it is held in memory as a whole."""
MAX_PARTITIONS = 4096


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Job:
  """What is to be prepared, and where to."""

  events: source.Events
  out: pathlib.Path
  on_bad: str = "stop"

  @property
  def schema(self) -> schema_lib.Schema:
    return self.events.schema

  @property
  def partitions(self) -> int:
    """Depends on the log's files alone."""
    events = sum(map(spill.estimated_events, self.events.files))
    return min(max(-(-events // PARTITION_EVENTS), 1), MAX_PARTITIONS)

  def work(self, *parts: str) -> pathlib.Path:
    return self.out.joinpath(WORK, *parts)

  def read_marker(self, file: int) -> pathlib.Path:
    return self.work("read", f"{file:05d}.json")

  def reads(self) -> list[dict[str, Any]]:
    """What reading found in each file of the log."""
    return [
      json.loads(self.read_marker(i).read_text())
      for i in range(len(self.events.files))
    ]

  def chunk(self, file: int, number: int) -> pathlib.Path:
    """Events of one file, cut by partition."""
    return self.work("events", f"{file:05d}-{number:05d}.arrow")

  def group_marker(self, partition: int) -> pathlib.Path:
    return self.work("group", f"{partition:05d}.json")

  def grouped(self, partition: int) -> pathlib.Path:
    return self.work("grouped", f"{partition:05d}.parquet")

  def counts(self, name: str, partition: int) -> pathlib.Path:
    return self.work("counts", name, f"{partition:05d}.parquet")

  @property
  def images_marker(self) -> pathlib.Path:
    return self.work("images.json")

  def vocabulary(self, name: str) -> pathlib.Path:
    return self.out / "vocab" / f"{name}.parquet"

  def encode_marker(self, partition: int) -> pathlib.Path:
    return self.work("encode", f"{partition:05d}.json")

  def shard(self, split: str, partition: int) -> pathlib.Path:
    return self.out / split / f"part-{partition:05d}.parquet"
