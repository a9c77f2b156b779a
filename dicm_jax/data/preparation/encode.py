"""Grouped events to rows of the model's tables, one line a group."""

import collections
from collections.abc import Iterator
from typing import NamedTuple

from jaxtyping import Float, Int
import numpy as np
import pyarrow as pa

from dicm_jax.data import click_log
from dicm_jax.data import field as field_lib
from dicm_jax.data import schema as schema_lib
from dicm_jax.data.preparation import (
  grouping,
  negatives,
  rows,
)

Tally = collections.Counter[str]
"""What encoding left out or could not place:

behaviours_cut: clicks beyond the maximum length of a history.
values_cut: values beyond the maximum length of a list.
unknown_items: events whose item the item table lacks.
negatives_missing: negatives not drawn, for users who took nearly every item.
"""


HISTORY_ENTRIES = 1 << 22
"""Past clicks that are listed at a time, at most; each takes some 50 bytes."""


class _Samples(NamedTuple):
  """Impressions: those of the log and the negatives made up."""

  event: Int[np.ndarray, " s"]
  label: Float[np.ndarray, " s"]
  group: Int[np.ndarray, " s"]
  item: Int[np.ndarray, " s"]


def encode(
  grouped: grouping.Grouped, book: rows.Codebook, partition: int
) -> Iterator[tuple[pa.Table, Tally]]:
  """Makes the lines of a shard.

  Args:
    grouped: a partition's events.
    book: vocabularies and item table.
    partition: number that seeds the draws of negatives.

  Yields:
    Some groups at a time, so that their histories need bounded memory: one line
    a group with the columns of docs/data.md and `test`, and the counts of what
    was left out.
  """
  schema, events = book.schema, grouped.events
  item, unknown = _items(events, book)
  own, values_cut = _own_columns(events, book)
  samples, missing = _samples(grouped, item, book, partition)
  tally = Tally(
    values_cut=values_cut, unknown_items=unknown, negatives_missing=missing
  )
  step = max(HISTORY_ENTRIES // schema.history.max_length, 1)
  for start in range(0, len(grouped.time), step):
    groups = slice(start, min(start + step, len(grouped.time)))
    columns = _user_columns(grouped, groups, own, schema)
    past, tally["behaviours_cut"] = _past_columns(
      grouped, groups, own, item, book
    )
    ads = _ad_columns(samples, groups, own, book)
    yield pa.table(columns | past | ads), tally
    tally = Tally()


def _user_columns(grouped: grouping.Grouped, groups: slice, own, schema):
  """What each group has of its own, and the user side from the log."""
  first = grouped.first[groups]
  users = grouped.events["user"].take(pa.array(first))
  columns: dict[str, pa.Array] = {
    "user": users.combine_chunks(),
    "time": pa.array(grouped.time[groups]),
    "test": pa.array(grouped.test[groups]),
  }
  if schema.log.query:
    queries = grouped.events[schema_lib.QUERY].take(pa.array(first))
    columns[schema_lib.QUERY] = queries.combine_chunks().fill_null("")
  for field in schema.feature:
    if field.side == "user":
      column = _user_side(own[field.name], first, field)
      columns |= _arrow(field.name, column)
  return columns


def _past_columns(
  grouped: grouping.Grouped, groups: slice, own, item, book: rows.Codebook
) -> tuple[dict[str, pa.Array], int]:
  """The user side from past clicks; and how many of those were cut."""
  fields = [f for f in book.schema.feature if f.history]
  if not fields:
    return {}, 0
  behaviours, cut = grouping.past_clicks(grouped, book.schema.history, groups)
  columns: dict[str, pa.Array] = {}
  for field in fields:
    past = _past(field, behaviours, own, item, book)
    columns |= _arrow(history_name(field), past)
  return columns, cut


def _ad_columns(
  samples: _Samples, groups: slice, own, book: rows.Codebook
) -> dict[str, pa.Array]:
  """Label, ad and context: one entry a sample."""
  ends = np.arange(groups.start, groups.stop + 1)
  offsets = np.searchsorted(samples.group, ends)
  here = slice(offsets[0], offsets[-1])
  samples = _Samples(*(column[here] for column in samples))
  offsets -= offsets[0]
  columns = {"label": _nested(pa.array(samples.label), offsets)}
  for field in book.schema.feature:
    if field.side != "user":
      column = _per_sample(field, samples, own, book)
      for name, values in _arrow(field.name, column).items():
        columns[name] = _nested(values, offsets)
  return columns


def history_name(field: schema_lib.Field) -> str:
  """Column of a user's past values of an ad-side feature."""
  return field_lib.HISTORY_PREFIX + field.name


def _own_columns(events: pa.Table, book: rows.Codebook):
  """Features that stand in the log itself, line by line."""
  own, cut = {}, 0
  for field in book.schema.feature:
    if field.name not in book.schema.in_items:
      own[field.name], more = rows.of_feature(events, field, book)
      cut += more
  return own, cut


def _items(events: pa.Table, book: rows.Codebook):
  """Line of each event's item in the item table; and how many have none."""
  if book.item_keys is None:
    return np.zeros(len(events), np.int32), 0
  found = book.item_keys.rows(events["item"].combine_chunks())
  unknown = found == 0
  return np.where(unknown, len(book.item_keys), found - 1), int(unknown.sum())


def _samples(grouped, item, book: rows.Codebook, partition: int):
  """The events, and after each positive the negatives drawn for it."""
  events = np.arange(len(grouped.group))
  rule = book.schema.negatives
  if not rule.per_positive:
    samples = _Samples(events, grouped.label, grouped.group, item)
    return samples, 0
  assert book.popularity is not None
  drawn = negatives.draw(
    user=grouped.user[grouped.group],
    item=item,
    label=grouped.label,
    rule=rule,
    popularity=book.popularity,
    partition=partition,
  )
  event = np.concatenate([events, drawn.event])
  order = np.argsort(event, kind="stable")
  made_up = np.zeros(len(drawn.event), np.float32)
  samples = _Samples(
    event[order],
    np.concatenate([grouped.label, made_up])[order],
    grouped.group[event[order]],
    np.concatenate([item, drawn.item])[order],
  )
  return samples, drawn.missing


def _user_side(
  column: rows.Column, first, field: schema_lib.Field
) -> rows.Column:
  """What the first event of each group says of the user."""
  if field.kind == "id":
    assert isinstance(column, np.ndarray)
    # The ID table's user side holds lists: here one value each, or none.
    return click_log.Jagged(column[first], np.arange(len(first) + 1))
  return rows.take(column, first)


def _past(field, behaviours: click_log.Jagged, own, item, book) -> rows.Column:
  """The values of a feature at each group's past clicks."""
  if field.name in book.items:
    values = book.items[field.name][item[behaviours.values]]
  else:
    values = own[field.name][behaviours.values]
  lists = behaviours._replace(values=values)
  return rows.without_missing(lists) if field.kind == "image" else lists


def _per_sample(
  field, samples: _Samples, own, book: rows.Codebook
) -> rows.Column:
  if field.name in book.items:
    return rows.take(book.items[field.name], samples.item)
  return rows.take(own[field.name], samples.event)


def _arrow(name: str, column: rows.Column) -> dict[str, pa.Array]:
  """Arrow columns of one line an entry."""
  if isinstance(column, np.ndarray):
    if column.ndim == 1:
      return {name: pa.array(column.astype(np.int32))}
    width = column.shape[1]
    offsets = np.arange(len(column) + 1) * width
    return {name: _nested(pa.array(column.reshape(-1)), offsets)}
  values = pa.array(column.values.astype(np.int32))
  out = {name: _nested(values, column.offsets)}
  if column.weights is not None:
    weights = pa.array(column.weights.astype(np.float32))
    out[schema_lib.weight_column(name)] = _nested(weights, column.offsets)
  return out


def _nested(values: pa.Array, offsets) -> pa.Array:
  return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values)
