"""From a click log on disk to a prepared data set, in stages of small tasks.

read      some files of the log -> chunks of events, cut by partition
group     a partition -> its events in order, with groups, split and counts
learn     a feature's counts -> its vocabulary
pictures  the image source -> the image store
titles    the table of titles -> a title for each image row
encode    a partition -> a training and a test shard
finish    everything -> the manifest, written last

A task's outputs are whole files, and a marker says that it is done. So a task
can run anywhere that sees the folder, twice if need be, and a killed
preparation goes on where it was. What a task makes depends on the log and the
schema alone, never on who ran it.
"""

from collections.abc import Callable, Iterator
import functools
import json
import pathlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dicm_jax.data import (
  feature_files,
  files,
  image_store,
  source,
  title_file,
)
from dicm_jax.data import schema as schema_lib
from dicm_jax.data.preparation import (
  encode,
  grouping,
  learning,
  lookup,
  places,
  shards,
  spill,
)
from dicm_jax.data.preparation.job import SPLITS, Job

Run = Callable[[Callable[[int], Any], int, str], None]
"""Runs task(0), ..., task(count - 1), each at least once, in any order and
place; the third argument names the stage."""


def prepare(
  job: Job,
  images: Callable[[], dict[str, Any]] | None,
  run: Run,
  titles: Callable[[], dict[str, Any]] | None = None,
) -> None:
  """Makes everything but the frozen features and the manifest.

  Args:
    job: what to prepare.
    images: fills the image rows, see `store_pictures`; None: there are none.
    run: runs the tasks.
    titles: gives image rows their titles, see `store_titles`; without images it
      makes the rows as well.

  Raises:
    InputError: a line or picture is wrong and on_bad is "stop"; or nothing is
      left to train or test on.
  """
  job.keep_items()
  run(functools.partial(read, job), len(job.readings), "read")
  files.once(job.read_summary, lambda: _summary(job))
  run(functools.partial(group, job), job.partitions, "group")
  learned = learning.learned(job.schema)
  run(functools.partial(learning.learn, job), len(learned), "learn")
  if images is not None:
    files.once(job.images_marker, images)
  if titles is not None:
    files.once(job.titles_marker, titles)
  run(functools.partial(encode_one, job), job.partitions, "encode")


def read(job: Job, number: int) -> None:
  """Reads some files of the log into chunks cut by partition."""

  def work():
    bad = source.Bad(job.on_bad)
    made, total, newest = 0, 0, None
    for events in spill.chunks(_blocks(job, number, bad)):
      spill.write_chunk(job.chunk(number, made), events, job.partitions)
      made, total = made + 1, total + len(events)
      last = pc.call_function("max", [events["time"]]).as_py()
      newest = last if newest is None else max(newest, last)
    return {
      "chunks": made,
      "events": total,
      "newest": newest,
      **bad.summary(),
    }

  files.once(job.read_marker(number), work)


def _events_schema(job: Job) -> pa.Schema:
  """Of events between reading and grouping: `file` breaks ties, as `line`."""
  return schema_lib.block_schema(job.schema).append(
    pa.field("file", pa.int32())
  )


def _blocks(job: Job, reading: int, bad: source.Bad) -> Iterator[pa.Table]:
  """All blocks of the files that a task reads."""
  schema = _events_schema(job)
  for number in job.readings[reading]:
    for block in job.events.read(job.events.files[number], job.schema, bad):
      if len(block):
        file = pa.array(np.full(len(block), number, np.int32))
        yield block.append_column("file", file).cast(schema)


def _summary(job: Job) -> dict[str, Any]:
  """What grouping must know of all that was read."""
  reads = job.reads()
  times = [found["newest"] for found in reads if found["chunks"]]
  return {
    "chunks": [found["chunks"] for found in reads],
    "newest": max(times, default=0),
  }


@functools.lru_cache(maxsize=1)
def _read_before(job: Job) -> dict[str, Any]:
  return json.loads(job.read_summary.read_text())


def group(job: Job, partition: int) -> None:
  """Orders one partition's events, splits them and counts their values."""

  def work():
    found = _read_before(job)
    chunks = [
      job.chunk(reading, k)
      for reading, count in enumerate(found["chunks"])
      for k in range(count)
    ]
    events = spill.gather(chunks, partition, _events_schema(job))
    if not len(events):
      return {"events": 0}
    grouping.check_users(events)
    test_from = (
      grouping.test_moment(job.schema.split, found["newest"])
      if job.schema.split.rule == "time"
      else 0
    )
    grouped = grouping.group(events, job.schema, test_from)
    _write_grouped(job.grouped(partition), grouped)
    for name, counts in learning.counts(grouped, job.schema).items():
      files.write_parquet(job.counts(name, partition), counts)
    return {"events": len(events)}

  files.once(job.group_marker(partition), work)


def _write_grouped(path: pathlib.Path, grouped: grouping.Grouped) -> None:
  events = grouped.events
  columns = {
    "_group": grouped.group,
    "_user": grouped.user[grouped.group],
    "_time": grouped.time[grouped.group],
    "_test": grouped.test[grouped.group],
  }
  for name, values in columns.items():
    events = events.append_column(name, pa.array(values))
  files.write_parquet(path, events)


def _read_grouped(path: pathlib.Path) -> grouping.Grouped:
  events = pq.read_table(path)
  group = events["_group"].to_numpy()
  first = np.flatnonzero(np.diff(group, prepend=-1))

  def of_group(name: str):
    return events[name].to_numpy()[first]

  return grouping.Grouped(
    events=events.drop_columns(["_group", "_user", "_time", "_test"]),
    group=group,
    user=of_group("_user"),
    time=of_group("_time"),
    test=of_group("_test"),
  )


def store_pictures(
  job: Job,
  pictures: source.Pictures,
  bad: source.Bad | None = None,
  on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
  """Fills the image store; returns what is missing or damaged.

  Args:
    job: its events are grouped.
    pictures: where they come from.
    bad: what opening the pictures reported goes on here.
    on_progress: called with (pictures done, pictures wanted).

  Raises:
    InputError: a picture is missing or damaged, and the job says stop.
  """
  bad = bad or source.Bad(job.on_bad)
  wanted = learning.wanted_pictures(job)
  there = places.available(job, wanted, pictures.keys(), bad)
  folder = job.out / "images"
  keys = image_store.write(folder, pictures, there, bad, on_progress)
  return {"keys": len(keys), **bad.summary()}


def store_vectors(
  job: Job, vectors: source.Vectors, dtype: str, bad: source.Bad
) -> dict[str, Any]:
  """As `store_pictures`, for vectors made elsewhere, stored as `dtype`."""
  wanted = learning.wanted_pictures(job)
  there = places.available(job, wanted, vectors.keys(), bad)
  count = feature_files.write_precomputed(job.out, vectors, there, dtype)
  return {"keys": count, **bad.summary()}


def store_titles(job: Job, titles: pa.Table, bad: source.Bad) -> dict[str, Any]:
  """Gives each image row its title; returns how many have none.

  Where there are no pictures and no vectors, all keys that the log names become
  rows, in order.

  Args:
    job: its image rows are made, if there is something to make them of.
    titles: `key` and `title`, no key twice.
    bad: what was wrong with them.
  """
  if job.images_marker.exists():
    keys = feature_files.image_keys(job.out)
  else:
    keys = ["", *sorted(learning.wanted_pictures(job))]
  lines = lookup.Lookup(titles["key"].combine_chunks())
  texts = pa.concat_arrays(
    [pa.array([""]), titles["title"].combine_chunks()]
  ).take(pa.array(lines.rows(pa.array(keys, pa.string()))))
  title_file.write(job.out, keys, texts)
  missing = texts.to_pylist()[1:].count("")
  return {"given": len(keys) - 1 - missing, "missing": missing, **bad.summary()}


def encode_one(job: Job, partition: int) -> None:
  """Writes one partition's training and test shard."""

  def work():
    grouped = job.grouped(partition)
    if not grouped.exists():
      return {"tally": {}, "splits": {}, "dense": {}}
    made = encode.encode(
      _read_grouped(grouped), learning.codebook(job), partition
    )
    paths = {name: job.shard(name, partition) for name in SPLITS}
    return shards.write(made, paths, job.schema)

  files.once(job.encode_marker(partition), work)
