"""Where the log names an image that its source lacks."""

from collections.abc import Collection, Iterable

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dicm_jax.data import schema as schema_lib
from dicm_jax.data import source
from dicm_jax.data.preparation.job import Job

Place = tuple[int, int]
"""Number of a file of the log, and line in it."""


def available(
  job: Job, wanted: Collection[str], there: Iterable[str], bad: source.Bad
) -> frozenset[str]:
  """The wanted images that are there; the others are reported.

  Args:
    job: its events are grouped.
    wanted: keys that the log or the item table names.
    there: keys of the source.
    bad: is told of each missing key and where it is named first.

  Raises:
    InputError: a key is missing and `bad` says stop.
  """
  found = frozenset(wanted).intersection(there)
  missing = frozenset(wanted) - found
  if not missing:
    return found
  share = f"{len(missing)} of {len(wanted)} keys are missing"
  for field in job.schema.feature:
    if field.kind in ("image", "images"):
      if field.name in job.schema.in_items:
        named = _in_items(job, field, missing)
      else:
        named = _in_log(job, field, missing)
      for file, where, key in named:
        bad.report(
          file,
          where,
          f"field {field.column!r}: expected a key of the images, found "
          f"{key!r}; {share}",
        )
        missing -= {key}
  return found


def _in_items(job: Job, field: schema_lib.Field, missing: frozenset[str]):
  items = job.events.items
  assert items is not None
  file = job.events.items_file or "items"
  rows = _rows_with(items[field.name], missing)
  found = items.select(["item", field.name]).take(rows).to_pylist()
  first = {row[field.name]: row["item"] for row in reversed(found)}
  for key, item in sorted(first.items()):
    yield file, f"item {item!r}", key


def _in_log(job: Job, field: schema_lib.Field, missing: frozenset[str]):
  first: dict[str, Place] = {}
  for partition in range(job.partitions):
    path = job.grouped(partition)
    if path.exists():
      events = pq.read_table(path, columns=[field.name, "file", "line"])
      for key, place in _named(events, field.name, missing):
        first[key] = min(place, first.get(key, place))
  for key, (file, line) in sorted(first.items(), key=lambda entry: entry[1]):
    yield job.events.files[file], line, key


def _named(events: pa.Table, name: str, missing: frozenset[str]):
  """Missing keys and their places, with repeats."""
  column = events[name].combine_chunks()
  events = events.drop_columns([name])
  if pa.types.is_list(column.type):
    events = events.take(pc.call_function("list_parent_indices", [column]))
    column = column.flatten()
  rows = _rows_with(column, missing)
  files = events["file"].take(rows).to_pylist()
  lines = events["line"].take(rows).to_pylist()
  keys = column.take(rows).to_pylist()
  return zip(keys, zip(files, lines, strict=True), strict=True)


def _rows_with(column, values: frozenset[str]) -> pa.Array:
  options = pc.SetLookupOptions(pa.array(sorted(values), pa.string()))
  there = pc.call_function("is_in", [column], options)
  return pc.call_function("indices_nonzero", [there])
