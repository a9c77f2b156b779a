"""From a click log on disk to a prepared data set, in stages of small tasks.

read      a file of the log -> chunks of events, cut by partition
group     a partition -> its events in order, with groups, split and counts
learn     all counts -> vocabularies, chances of negatives
pictures  the image source -> the image store
encode    a partition -> a training and a test shard
finish    everything -> the manifest, written last

A task's outputs are whole files, and a marker says that it is done. So a task
can run anywhere that sees the folder, twice if need be, and a killed
preparation goes on where it was. What a task makes depends on the log and the
schema alone, never on who ran it.
"""

from collections.abc import Callable
import functools
import pathlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dicm_jax.data import feature_files, files, image_store, source
from dicm_jax.data import schema as schema_lib
from dicm_jax.data.preparation import (
  encode,
  grouping,
  learning,
  places,
  spill,
)
from dicm_jax.data.preparation.job import SPLITS, Job

Run = Callable[[Callable[[int], Any], int, str], None]
"""Runs task(0), ..., task(count - 1), each at least once, in any order and
place; the third argument names the stage."""


def prepare(
  job: Job, images: Callable[[], dict[str, Any]] | None, run: Run
) -> None:
  """Makes everything but the frozen features and the manifest.

  Args:
    job: what to prepare.
    images: fills the image rows, see `store_pictures`; None: there are none.
    run: runs the tasks.

  Raises:
    InputError: a line or picture is wrong and on_bad is "stop"; or nothing is
      left to train or test on.
  """
  run(functools.partial(read, job), len(job.events.files), "read")
  for folder in ("grouped", "counts"):
    job.work(folder).mkdir(exist_ok=True)
  run(functools.partial(group, job), job.partitions, "group")
  learning.learn(job)
  if images is not None:
    files.once(job.images_marker, images)
  run(functools.partial(encode_one, job), job.partitions, "encode")


def read(job: Job, number: int) -> None:
  """Reads one file of the log into chunks cut by partition."""

  def work():
    bad = source.Bad(job.on_bad)
    newest, total = None, 0
    path = job.events.files[number]
    job.work("events").mkdir(parents=True, exist_ok=True)

    def blocks():
      nonlocal newest, total
      for block in job.events.read(path, job.schema, bad):
        if not len(block):
          continue
        total += len(block)
        last = int(block["time"].to_numpy().max())
        newest = last if newest is None else max(newest, last)
        file = pa.array(np.full(len(block), number, np.int32))
        yield block.append_column("file", file)

    made = 0
    for numbers, batches in spill.chunks(blocks(), job.partitions):
      spill.write_chunk(job.chunk(number, made), numbers, batches)
      made += 1
    return {
      "chunks": made,
      "events": total,
      "newest": newest,
      **bad.summary(),
    }

  files.once(job.read_marker(number), work)


def group(job: Job, partition: int) -> None:
  """Orders one partition's events, splits them and counts their values."""

  def work():
    reads = job.reads()
    chunks = [
      job.chunk(i, k)
      for i, found in enumerate(reads)
      for k in range(found["chunks"])
    ]
    events = spill.gather(chunks, partition)
    if events is None:
      return {"events": 0}
    newest = max(r["newest"] for r in reads if r["newest"] is not None)
    test_from = (
      grouping.test_moment(job.schema.split, newest)
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
  job: Job, pictures: source.Pictures, bad: source.Bad | None = None
) -> dict[str, Any]:
  """Fills the image store; returns what is missing or damaged.

  Args:
    job: its events are grouped.
    pictures: where they come from.
    bad: what opening the pictures reported goes on here.

  Raises:
    InputError: a picture is missing or damaged, and the job says stop.
  """
  bad = bad or source.Bad(job.on_bad)
  wanted = learning.wanted_pictures(job)
  there = places.available(job, wanted, pictures.keys(), bad)
  keys = image_store.write(job.out / "images", pictures, there, bad)
  return {"keys": len(keys), **bad.summary()}


def store_vectors(
  job: Job, vectors: source.Vectors, dtype: str, bad: source.Bad
) -> dict[str, Any]:
  """As `store_pictures`, for vectors made elsewhere, stored as `dtype`."""
  wanted = learning.wanted_pictures(job)
  there = places.available(job, wanted, vectors.keys(), bad)
  count = feature_files.write_precomputed(job.out, vectors, there, dtype)
  return {"keys": count, **bad.summary()}


def encode_one(job: Job, partition: int) -> None:
  """Writes one partition's training and test shard."""

  def work():
    grouped = job.grouped(partition)
    if not grouped.exists():
      return {"tally": {}, "splits": {}, "dense": {}}
    table, tally = encode.encode(
      _read_grouped(grouped), learning.codebook(job), partition
    )
    out: dict[str, Any] = {"tally": dict(tally), "splits": {}}
    for name in SPLITS:
      test = table["test"].to_numpy()
      part = table.filter(pa.array(test if name == "test" else ~test))
      part = part.drop_columns(["test"])
      files.write_parquet(job.shard(name, partition), part)
      out["splits"][name] = _split_counts(part)
      if name == "train":
        out["dense"] = _dense_sums(part, job.schema)
    return out

  files.once(job.encode_marker(partition), work)


def _split_counts(part: pa.Table) -> dict[str, int]:
  label = part["label"].combine_chunks().flatten().to_numpy()
  return {
    "groups": len(part),
    "samples": len(label),
    "clicks": int((label == 1).sum()),
  }


def _dense_sums(part: pa.Table, schema: schema_lib.Schema) -> dict[str, Any]:
  """Count, sum and sum of squares of each dense number in training."""
  out = {}
  for field in schema.feature:
    if field.kind == "dense":
      values = part[field.name].combine_chunks()
      while pa.types.is_list(values.type):
        values = values.flatten()
      numbers = values.to_numpy(zero_copy_only=False).astype(np.float64)
      table = numbers.reshape(-1, field.width)
      seen = np.isfinite(table)
      table = np.where(seen, table, 0)
      out[field.name] = [
        seen.sum(0).tolist(),
        table.sum(0).tolist(),
        (table**2).sum(0).tolist(),
      ]
  return out
