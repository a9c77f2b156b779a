"""A log's strings and numbers as rows of the model's tables."""

from collections.abc import Mapping
import dataclasses

from jaxtyping import Float
import numpy as np
import pyarrow as pa

from dicm_jax.data import click_log, history
from dicm_jax.data import schema as schema_lib
from dicm_jax.data.preparation import lookup, vocabulary

Column = np.ndarray | click_log.Jagged
"""Rows [n] of an id or image, numbers [n, width], or lists of rows."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Codebook:
  """What turns a log's strings into rows."""

  schema: schema_lib.Schema
  vocabularies: Mapping[str, lookup.Lookup]
  """Values of each learned feature, value i for row i + 1."""
  images: lookup.Lookup
  """Keys of the pictures, key i for image row i + 1."""
  item_keys: lookup.Lookup | None = None
  items: Mapping[str, Column] = dataclasses.field(default_factory=dict)
  """Item-side features, line i for item_keys[i]; the last line is empty and
  stands for items that the table lacks."""
  popularity: Float[np.ndarray, " I"] | None = None
  """Chance of each item to be drawn as a negative."""


def _column(
  column: pa.Array, field: schema_lib.Field, book: Codebook, weights=None
) -> tuple[Column, int]:
  if field.kind == "dense":
    return _dense(column, field), 0
  if field.kind in ("id", "image"):
    return _rows(column, field, book), 0
  lengths = column.value_lengths().fill_null(0).to_numpy()
  offsets = np.concatenate([[0], np.cumsum(lengths)])
  rows = _rows(column.flatten(), field, book)
  if weights is not None:
    weights = weights.flatten().to_numpy(zero_copy_only=False)
  lists = click_log.Jagged(rows, offsets, weights)
  if field.kind == "images":
    lists = without_missing(lists)
  return _last(lists, field.max_length)


def _rows(values: pa.Array, field: schema_lib.Field, book: Codebook):
  if field.kind in ("image", "images"):
    return book.images.rows(values)
  if field.vocabulary == "hash":
    return vocabulary.hashed_rows(values, field.buckets)
  return book.vocabularies[field.name].rows(values)


def _dense(column: pa.Array, field: schema_lib.Field):
  """Numbers [n, width]; a missing line is NaN."""
  lengths = column.value_lengths().fill_null(0).to_numpy()
  out = np.full((len(column), field.width), np.nan, np.float32)
  filled = column.flatten().to_numpy(zero_copy_only=False)
  out[lengths > 0] = filled.reshape(-1, field.width)
  return out


def without_missing(lists: click_log.Jagged) -> click_log.Jagged:
  """Drops row 0: no picture is no behaviour."""
  keep = lists.values > 0
  ends = np.concatenate([[0], np.cumsum(keep)])
  return click_log.Jagged(
    lists.values[keep],
    ends[lists.offsets],
    None if lists.weights is None else lists.weights[keep],
  )


def _last(lists: click_log.Jagged, length: int):
  """The last `length` values of each list (0: all); and how many went."""
  if not length or lists.lengths.max(initial=0) <= length:
    return lists, 0
  kept = np.minimum(lists.lengths, length)
  ends = np.repeat(lists.offsets[1:], lists.lengths)
  keep = np.arange(len(lists.values)) >= ends - length
  cut = click_log.Jagged(
    lists.values[keep],
    np.concatenate([[0], np.cumsum(kept)]),
    None if lists.weights is None else lists.weights[keep],
  )
  return cut, int((~keep).sum())


def encode_items(items: pa.Table, book: Codebook) -> dict[str, Column]:
  """The item table's features as rows, with an empty line at the end."""
  out = {}
  for field in book.schema.feature:
    if field.name in book.schema.in_items:
      column, _ = of_feature(items, field, book)
      out[field.name] = _with_empty_line(column)
  return out


def _with_empty_line(column: Column) -> Column:
  if isinstance(column, np.ndarray):
    fill = np.nan if column.dtype == np.float32 else 0
    return np.concatenate(
      [column, np.full_like(column[:1], fill, shape=(1, *column.shape[1:]))]
    )
  return column._replace(offsets=np.append(column.offsets, column.offsets[-1:]))


def of_feature(
  table: pa.Table, field: schema_lib.Field, book: Codebook
) -> tuple[Column, int]:
  """A feature's column of a table as rows; and how many values were cut.

  Args:
    table: events or items, with the columns of `schema.feature_columns`.
    field: the feature.
    book: vocabularies.
  """
  weights = None
  if field.weighted:
    name = schema_lib.weight_column(field.name)
    weights = table[name].combine_chunks()
  return _column(table[field.name].combine_chunks(), field, book, weights)


def take(column: Column, keep) -> Column:
  """The given lines of a column."""
  if isinstance(column, np.ndarray):
    return column[keep]
  return history.take(column, keep)
