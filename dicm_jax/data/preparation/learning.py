"""What the whole log teaches: vocabularies, and how often items occur."""

import dataclasses
import functools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dicm_jax.data import feature_files, files
from dicm_jax.data import schema as schema_lib
from dicm_jax.data.preparation import (
  grouping,
  negatives,
  rows,
  vocabulary,
)
from dicm_jax.data.preparation.job import Job

_ITEMS, _CLICKED_ITEMS = "_item", "_clicked_item"
"""Counts of items in training, and of those clicked."""


def counts(
  grouped: grouping.Grouped, schema: schema_lib.Schema
) -> dict[str, pa.Table]:
  """How often values occur in training; pictures: in training and test."""
  events = grouped.events
  training = ~grouped.test[grouped.group]
  in_training = events.filter(pa.array(training))
  out = {
    f.name: vocabulary.count(in_training[f.name])
    for f in schema.feature
    if is_learned(f) and f.name not in schema.in_items
  }
  for f in schema.feature:
    if f.kind in ("image", "images") and f.name not in schema.in_items:
      out[f.name] = vocabulary.count(events[f.name])
  if schema.items:
    clicked = events.filter(pa.array(training & (grouped.label == 1)))
    out[_ITEMS] = vocabulary.count(in_training["item"])
    out[_CLICKED_ITEMS] = vocabulary.count(clicked["item"])
  return out


def is_learned(field: schema_lib.Field) -> bool:
  return field.kind in schema_lib.ID_KINDS and field.vocabulary == "learn"


def learn(job: Job) -> None:
  """Writes the vocabularies, and the counts that chances come from."""
  for field in job.schema.feature:
    if is_learned(field):
      path = job.vocabulary(field.name)
      if not path.exists():
        counts = _total(job, field)
        learned = vocabulary.learn(counts, field.min_count, field.name)
        files.write_parquet(path, learned)


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


@functools.lru_cache(maxsize=1)
def codebook(job: Job) -> rows.Codebook:
  """What the stages before encoding have learned; loaded once a process."""
  book = rows.Codebook(
    schema=job.schema,
    vocabularies={
      f.name: vocabulary.read(job.vocabulary(f.name))
      for f in job.schema.feature
      if is_learned(f)
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
