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
import dataclasses
import functools
import json
import pathlib
import shutil
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dicm_jax import errors
from dicm_jax.data import (
  encode,
  feature_files,
  files,
  grouping,
  image_store,
  negatives,
  rows,
  source,
  spill,
  vocabulary,
)
from dicm_jax.data import schema as schema_lib

FORMAT = 1
"""Version of the layout, in the manifest."""
MANIFEST = "manifest.json"
WORK = ".work"
SPLITS = ("train", "test")
PARTITION_EVENTS = 1 << 19
"""Events of a partition, aimed at: it is held in memory as a whole."""
MAX_PARTITIONS = 4096

Run = Callable[[Callable[[int], Any], int, str], None]
"""Runs task(0), ..., task(count - 1), each at least once, in any order and
place; the third argument names the stage."""


@dataclasses.dataclass(frozen=True, kw_only=True)
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

  @functools.cached_property
  def codebook(self) -> rows.Codebook:
    """What the stages before encoding have learned; loaded once a process."""
    return _codebook(self)

  def __getstate__(self) -> dict[str, Any]:
    """Leaves the codebook behind: a worker elsewhere loads its own."""
    return {k: v for k, v in self.__dict__.items() if k != "codebook"}

  def work(self, *parts: str) -> pathlib.Path:
    return self.out.joinpath(WORK, *parts)


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
  learn(job)
  if images is not None:
    files.once(_images_marker(job), images)
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
      spill.write_chunk(_chunk(job, number, made), numbers, batches)
      made += 1
    return {
      "chunks": made,
      "events": total,
      "newest": newest,
      "bad": bad.found,
      "bad_count": bad.count,
    }

  files.once(_read_marker(job, number), work)


def _read_marker(job: Job, number: int) -> pathlib.Path:
  return job.work("read", f"{number:05d}.json")


def _chunk(job: Job, file: int, number: int) -> pathlib.Path:
  return job.work("events", f"{file:05d}-{number:05d}.arrow")


def _reads(job: Job) -> list[dict[str, Any]]:
  return [
    json.loads(_read_marker(job, i).read_text())
    for i in range(len(job.events.files))
  ]


def group(job: Job, partition: int) -> None:
  """Orders one partition's events, splits them and counts their values."""

  def work():
    reads = _reads(job)
    chunks = [
      _chunk(job, i, k)
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
    _write_grouped(_grouped_file(job, partition), grouped)
    for name, counts in _counts(grouped, job.schema).items():
      files.write_parquet(_counts_file(job, name, partition), counts)
    return {"events": len(events)}

  files.once(job.work("group", f"{partition:05d}.json"), work)


def _grouped_file(job: Job, partition: int) -> pathlib.Path:
  return job.work("grouped", f"{partition:05d}.parquet")


def _counts_file(job: Job, name: str, partition: int) -> pathlib.Path:
  return job.work("counts", name, f"{partition:05d}.parquet")


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


_ITEMS, _CLICKED_ITEMS = "_item", "_clicked_item"
"""Counts of items in training, and of those clicked."""


def _counts(
  grouped: grouping.Grouped, schema: schema_lib.Schema
) -> dict[str, pa.Table]:
  """How often values occur in training; pictures: in training and test."""
  events = grouped.events
  training = ~grouped.test[grouped.group]
  in_training = events.filter(pa.array(training))
  out = {
    f.name: vocabulary.count(in_training[f.name])
    for f in schema.feature
    if _is_learned(f) and f.name not in schema.in_items
  }
  for f in schema.feature:
    if f.kind in ("image", "images") and f.name not in schema.in_items:
      out[f.name] = vocabulary.count(events[f.name])
  if schema.items:
    clicked = events.filter(pa.array(training & (grouped.label == 1)))
    out[_ITEMS] = vocabulary.count(in_training["item"])
    out[_CLICKED_ITEMS] = vocabulary.count(clicked["item"])
  return out


def _is_learned(field: schema_lib.Field) -> bool:
  return field.kind in schema_lib.ID_KINDS and field.vocabulary == "learn"


def learn(job: Job) -> None:
  """Writes the vocabularies, and the counts that chances come from."""
  for field in job.schema.feature:
    if _is_learned(field):
      path = _vocabulary_file(job, field.name)
      if not path.exists():
        counts = _total(job, field)
        learned = vocabulary.learn(counts, field.min_count, field.name)
        files.write_parquet(path, learned)


def _vocabulary_file(job: Job, name: str) -> pathlib.Path:
  return job.out / "vocab" / f"{name}.parquet"


def _total(job: Job, field: schema_lib.Field) -> pa.Table:
  """Counts of a feature's values over the whole training split."""
  if field.name not in job.schema.in_items:
    return _merged(job, field.name)
  assert job.events.items is not None
  items = job.events.items
  times = _line_counts(job, _ITEMS)
  # Any item may be drawn as a negative, so each is seen once at least.
  if job.schema.negatives.per_positive:
    times = np.maximum(times, 1)
  column = items[field.name].combine_chunks()
  if pa.types.is_list(column.type):
    lengths = column.value_lengths().fill_null(0).to_numpy()
    times, column = np.repeat(times, lengths), column.flatten()
  table = pa.table([column, pa.array(times)], schema=vocabulary.COUNTS)
  known = pa.table(
    [table["value"], table["count"]], schema=vocabulary.COUNTS
  ).filter(
    pa.array(column.is_valid().to_numpy(zero_copy_only=False) & (times > 0))
  )
  return vocabulary.merge([known])


def _merged(job: Job, name: str) -> pa.Table:
  paths = sorted(job.work("counts", name).glob("*.parquet"))
  return vocabulary.merge(pq.read_table(path) for path in paths)


def _line_counts(job: Job, name: str):
  """Counts by line of the item table, int64 [I]."""
  assert job.events.items is not None
  counts = _merged(job, name)
  keys = job.events.items["item"].combine_chunks()
  line = vocabulary.rows_of(keys, counts["value"].combine_chunks())
  return np.append(0, counts["count"].to_numpy())[line]


def wanted_pictures(job: Job) -> set[str]:
  """Keys of all pictures that the log or the item table names."""
  wanted: set[str] = set()
  for field in job.schema.feature:
    if field.kind in ("image", "images"):
      if field.name in job.schema.in_items:
        assert job.events.items is not None
        keys = job.events.items[field.name].drop_null().unique()
      else:
        keys = _merged(job, field.name)["value"]
      wanted.update(keys.to_pylist())
  return wanted


def store_pictures(job: Job, pictures: source.Pictures) -> dict[str, Any]:
  """Fills the image store; returns what is missing or damaged."""
  bad = source.Bad(job.on_bad)
  keys = image_store.write(
    job.out / "images", pictures, wanted_pictures(job), bad
  )
  return {"keys": len(keys), "bad": bad.found, "bad_count": bad.count}


def _images_marker(job: Job) -> pathlib.Path:
  return job.work("images.json")


def _codebook(job: Job) -> rows.Codebook:
  book = rows.Codebook(
    schema=job.schema,
    vocabularies={
      f.name: vocabulary.read(_vocabulary_file(job, f.name))
      for f in job.schema.feature
      if _is_learned(f)
    },
    images=pa.array(feature_files.image_keys(job.out)[1:], pa.string()),
  )
  if job.events.items is None:
    return book
  return dataclasses.replace(
    book,
    item_keys=job.events.items["item"].combine_chunks(),
    items=rows.encode_items(job.events.items, book),
    popularity=negatives.chances(
      _line_counts(job, _CLICKED_ITEMS), job.schema.negatives.sampling
    ),
  )


def encode_one(job: Job, partition: int) -> None:
  """Writes one partition's training and test shard."""

  def work():
    grouped = _grouped_file(job, partition)
    if not grouped.exists():
      return {"tally": {}, "splits": {}, "dense": {}}
    table, tally = encode.encode(
      _read_grouped(grouped), job.codebook, partition
    )
    out: dict[str, Any] = {"tally": dict(tally), "splits": {}}
    for name in SPLITS:
      test = table["test"].to_numpy()
      part = table.filter(pa.array(test if name == "test" else ~test))
      part = part.drop_columns(["test"])
      files.write_parquet(_shard(job, name, partition), part)
      out["splits"][name] = _split_counts(part)
      if name == "train":
        out["dense"] = _dense_sums(part, job.schema)
    return out

  files.once(_encode_marker(job, partition), work)


def _encode_marker(job: Job, partition: int) -> pathlib.Path:
  return job.work("encode", f"{partition:05d}.json")


def _shard(job: Job, split: str, partition: int) -> pathlib.Path:
  return job.out / split / f"part-{partition:05d}.parquet"


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


def finish(job: Job, options: dict[str, Any]) -> None:
  """Writes the manifest and removes the working files.

  Args:
    job: the job, all its stages done.
    options: further entries of the manifest.

  Raises:
    InputError: the training or the test split is empty.
  """
  encoded = [
    json.loads(_encode_marker(job, i).read_text())
    for i in range(job.partitions)
  ]
  splits = {name: _sum_splits(encoded, name) for name in SPLITS}
  for name, counts in splits.items():
    if not counts["samples"]:
      total = sum(s["samples"] for s in splits.values())
      raise errors.InputError(
        f"the {name} split is empty: [split] rule {job.schema.split.rule!r} "
        f"put none of the {total} samples there"
      )
  manifest = options | {
    "format": FORMAT,
    "schema": schema_lib.to_dict(job.schema),
    "notice": job.events.notice,
    "splits": splits,
    "rows": {
      f.name: _rows_of_feature(job, f)
      for f in job.schema.feature
      if f.kind in schema_lib.ID_KINDS
    },
    "images": len(feature_files.image_keys(job.out)),
    "dense": _dense_scales(encoded),
    "left_out": _tally(encoded),
    "bad": _bad(job),
    "inputs": [
      {"name": p.name, "bytes": p.stat().st_size} for p in job.events.files
    ],
    "files": _file_list(job.out),
  }
  files.write_json(job.out / MANIFEST, manifest)
  clean(job.out)


def clean(out: pathlib.Path) -> None:
  """Removes the working files of a finished preparation."""
  shutil.rmtree(out / WORK, ignore_errors=True)


def _sum_splits(encoded, name: str) -> dict[str, int]:
  keys = ("groups", "samples", "clicks")
  return {
    k: sum(e["splits"].get(name, {}).get(k, 0) for e in encoded) for k in keys
  }


def _rows_of_feature(job: Job, field: schema_lib.Field) -> int:
  """Rows of a feature's table, row 0 included."""
  if field.vocabulary == "hash":
    return field.buckets + 1
  path = _vocabulary_file(job, field.name)
  return pq.ParquetFile(path).metadata.num_rows + 1


def _dense_scales(encoded) -> dict[str, dict[str, list[float]]]:
  """Mean and deviation of each dense number over the training split."""
  out = {}
  for name in sorted({k for e in encoded for k in e["dense"]}):
    parts = [e["dense"][name] for e in encoded if name in e["dense"]]
    count, total, squares = np.array(parts, np.float64).sum(0)
    mean = total / np.maximum(count, 1)
    variance = squares / np.maximum(count, 1) - mean**2
    deviation = np.sqrt(np.maximum(variance, 0))
    deviation[deviation == 0] = 1
    out[name] = {"mean": mean.tolist(), "deviation": deviation.tolist()}
  return out


def _tally(encoded) -> dict[str, int]:
  total: encode.Tally = encode.Tally()
  for entry in encoded:
    total.update(entry["tally"])
  return dict(sorted(total.items()))


def _bad(job: Job) -> dict[str, Any]:
  """What --on_bad=skip left out."""
  parts = _reads(job)
  if _images_marker(job).exists():
    parts.append(json.loads(_images_marker(job).read_text()))
  entries = [entry for part in parts for entry in part["bad"]]
  return {
    "count": sum(part["bad_count"] for part in parts),
    "first": entries[: source.Bad.KEPT],
  }


def _file_list(out: pathlib.Path) -> dict[str, dict[str, Any]]:
  """Size and digest of each file of the data set."""
  return {
    path.relative_to(out).as_posix(): {
      "bytes": path.stat().st_size,
      "sha256": files.digest(path),
    }
    for path in sorted(out.rglob("*.parquet"))
    if WORK not in path.relative_to(out).parts
  }
