"""What the whole log teaches: vocabularies, and how often items occur."""

from collections.abc import Iterator
import dataclasses
import functools

import numpy as np
import pyarrow as pa

from dicm_jax.data import feature_files, files
from dicm_jax.data import schema as schema_lib
from dicm_jax.data.preparation import (
  grouping,
  lookup,
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


def learned(schema: schema_lib.Schema) -> list[schema_lib.Field]:
  """Features with a vocabulary; learning runs a task for each."""
  return [f for f in schema.feature if is_learned(f)]


def learn(job: Job, number: int) -> None:
  """Writes the vocabulary of one of the `learned` features."""
  field = learned(job.schema)[number]
  path = job.vocabulary(field.name)
  if not path.exists():
    found = vocabulary.learn(_total(job, field), field.min_count, field.name)
    files.write_parquet(path, found)


def _total(job: Job, field: schema_lib.Field) -> Iterator[pa.Table]:
  """Counts of a feature's values over the whole training split."""
  if field.name not in job.schema.in_items:
    return _merged(job, field.name)
  items = job.items
  assert items is not None
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
  return iter([vocabulary.merge([known])])


def _merged(job: Job, name: str) -> Iterator[pa.Table]:
  paths = sorted(job.work("counts", name).glob("*.parquet"))
  return vocabulary.merge_files(paths)


def _line_counts(job: Job, name: str):
  """Counts by line of the item table, int64 [I]."""
  assert job.items is not None
  lines = lookup.Lookup(job.items["item"].combine_chunks())
  out = np.zeros(len(lines) + 1, np.int64)  # The first for unknown items.
  for counts in _merged(job, name):
    rows = lines.rows(counts["value"].combine_chunks())
    out[rows] = counts["count"].to_numpy()
  return out[1:]


def wanted_pictures(job: Job) -> set[str]:
  """Keys of all pictures that the log or the item table names."""
  wanted: set[str] = set()
  for field in job.schema.feature:
    if field.kind in ("image", "images"):
      if field.name in job.schema.in_items:
        assert job.items is not None
        wanted.update(job.items[field.name].drop_null().unique().to_pylist())
      else:
        for counts in _merged(job, field.name):
          wanted.update(counts["value"].to_pylist())
  return wanted


@functools.lru_cache(maxsize=1)
def codebook(job: Job) -> rows.Codebook:
  """What the stages before encoding have learned; loaded once a process."""
  book = rows.Codebook(
    schema=job.schema,
    vocabularies={
      f.name: lookup.Lookup(vocabulary.read(job.vocabulary(f.name)))
      for f in learned(job.schema)
    },
    images=lookup.Lookup(
      pa.array(feature_files.image_keys(job.out)[1:], pa.string())
    ),
  )
  if job.items is None:
    return book
  return dataclasses.replace(
    book,
    item_keys=lookup.Lookup(job.items["item"].combine_chunks()),
    items=rows.encode_items(job.items, book),
    popularity=negatives.chances(
      _line_counts(job, _CLICKED_ITEMS), job.schema.negatives.sampling
    ),
  )
