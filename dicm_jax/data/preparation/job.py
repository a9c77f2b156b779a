"""A preparation: what from, where to, and where its tasks keep their files."""

import dataclasses
import functools
import json
import pathlib
from typing import Any
import uuid

import pyarrow as pa

from dicm_jax.data import files, source
from dicm_jax.data import schema as schema_lib
from dicm_jax.data.preparation import spill

MANIFEST = "manifest.json"
WORK = ".work"
SPLITS = ("train", "test")
PARTITION_EVENTS, PARTITION_BYTES = 1 << 19, 256 << 20
"""Size of a partition, aimed at: it is held in memory as a whole."""
MAX_PARTITIONS = 1 << 15


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Job:
  """What is to be prepared, and where to.

  Travels to workers without the item table, which they read from the working
  folder; two copies of a job are equal.
  """

  events: source.Events
  out: pathlib.Path
  on_bad: str = "stop"
  token: str = dataclasses.field(
    init=False, default_factory=lambda: uuid.uuid4().hex
  )
  """Tells jobs apart, so that what was loaded for one can be kept for it."""

  def __eq__(self, other: object) -> bool:
    return isinstance(other, Job) and other.token == self.token

  def __hash__(self) -> int:
    return hash(self.token)

  def __getstate__(self) -> dict[str, Any]:
    state = dict(self.__dict__)
    if self._items_file.exists():
      state["events"] = dataclasses.replace(self.events, items=None)
      state.pop("items", None)
    return state

  @property
  def schema(self) -> schema_lib.Schema:
    return self.events.schema

  @functools.cached_property
  def _sizes(self) -> list[spill.Size]:
    return [spill.estimated_size(path) for path in self.events.files]

  @functools.cached_property
  def partitions(self) -> int:
    """Depends on the log's files alone."""
    events = sum(size.events for size in self._sizes)
    data = sum(size.bytes for size in self._sizes)
    wanted = max(-(-events // PARTITION_EVENTS), -(-data // PARTITION_BYTES), 1)
    return min(wanted, MAX_PARTITIONS)

  @functools.cached_property
  def readings(self) -> list[range]:
    """Files of each task that reads: large ones alone, small ones together."""
    out, first, events, data = [], 0, 0, 0
    for number, size in enumerate(self._sizes):
      events, data = events + size.events, data + size.bytes
      if events >= PARTITION_EVENTS or data >= PARTITION_BYTES:
        out.append(range(first, number + 1))
        first, events, data = number + 1, 0, 0
    if first < len(self._sizes):
      out.append(range(first, len(self._sizes)))
    return out

  @functools.cached_property
  def items(self) -> pa.Table | None:
    """The item table."""
    if self.events.items is not None or not self._items_file.exists():
      return self.events.items
    with pa.memory_map(str(self._items_file)) as file:
      return pa.ipc.open_file(file).read_all()

  def keep_items(self) -> None:
    """Writes the item table where workers find it."""
    items = self.events.items
    if items is None or self._items_file.exists():
      return
    with (
      files.whole(self._items_file) as part,
      pa.ipc.new_file(str(part), items.schema) as file,
    ):
      file.write_table(items.combine_chunks())

  @property
  def _items_file(self) -> pathlib.Path:
    return self.work("items.arrow")

  def work(self, *parts: str) -> pathlib.Path:
    return self.out.joinpath(WORK, *parts)

  def read_marker(self, reading: int) -> pathlib.Path:
    return self.work("read", f"{reading:05d}.json")

  def reads(self) -> list[dict[str, Any]]:
    """What each task that reads found."""
    return [
      json.loads(self.read_marker(i).read_text())
      for i in range(len(self.readings))
    ]

  @property
  def read_summary(self) -> pathlib.Path:
    """All that the tasks after reading must know of it."""
    return self.work("read.json")

  def chunk(self, reading: int, number: int) -> pathlib.Path:
    """Events of one task that reads, cut by partition."""
    return self.work("events", f"{reading:05d}-{number:05d}.chunk")

  def group_marker(self, partition: int) -> pathlib.Path:
    return self.work("group", f"{partition:05d}.json")

  def grouped(self, partition: int) -> pathlib.Path:
    return self.work("grouped", f"{partition:05d}.parquet")

  def counts(self, name: str, partition: int) -> pathlib.Path:
    return self.work("counts", name, f"{partition:05d}.parquet")

  @property
  def images_marker(self) -> pathlib.Path:
    return self.work("images.json")

  @property
  def titles_marker(self) -> pathlib.Path:
    return self.work("titles.json")

  def vocabulary(self, name: str) -> pathlib.Path:
    return self.out / "vocab" / f"{name}.parquet"

  def encode_marker(self, partition: int) -> pathlib.Path:
    return self.work("encode", f"{partition:05d}.json")

  def shard(self, split: str, partition: int) -> pathlib.Path:
    return self.out / split / f"part-{partition:05d}.parquet"
