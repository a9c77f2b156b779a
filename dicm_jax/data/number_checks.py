"""Which numbers a column of a prepared data set may hold.

`prepare` writes no others. Files of another origin may hold them, and damaged
ones: a number out of bounds would be found in the middle of training else, and
a row that no table has would not be found at all.
"""

from collections.abc import Callable, Iterator
import pathlib
from typing import Any, NamedTuple

from jaxtyping import Bool, Shaped
import numpy as np
import pyarrow as pa

from dicm_jax import errors
from dicm_jax.data.readers import values as raw_values

Numbers = Shaped[np.ndarray, " n"]


class Rule(NamedTuple):
  """What a column's numbers must be like."""

  expected: str
  """In words."""
  holds: Callable[[Numbers], Bool[np.ndarray, " n"]]
  """Of which numbers it is true."""


LABEL = Rule("0 or 1", lambda found: (found == 0) | (found == 1))
FINITE = Rule("a finite number", np.isfinite)
DENSE = Rule(
  "a finite number, or nan where it is missing", lambda found: ~np.isinf(found)
)


def row_below(count: int) -> Rule:
  """A row of a table of `count` rows."""
  return Rule(
    f"a row from 0 to {count - 1}",
    lambda found: (found >= 0) & (found < count),
  )


def flat(column: pa.Array) -> pa.Array:
  """The values of a column, whatever lists they are in."""
  while raw_values.is_list(column.type):
    column = column.flatten()
  return column


def check(
  path: pathlib.Path, name: str, column: pa.ChunkedArray, rule: Rule
) -> None:
  """Looks at all numbers of a file's column.

  Raises:
    InputError: one breaks the rule, or is missing; the message names its row,
      from 0.
  """
  for chunk in column.chunks:
    values = flat(chunk)
    numbers = values.to_numpy(zero_copy_only=False)
    if values.null_count or not rule.holds(numbers).all():
      raise _wrong(path, name, column, rule)


def _wrong(path, name: str, column: pa.ChunkedArray, rule: Rule):
  row, found = next(
    (row, number)
    for row, value in enumerate(column.to_pylist())
    for number in _numbers(value)
    if number is None or not rule.holds(np.array([number]))[0]
  )
  return errors.InputError(
    f"{path}: row {row}, column {name!r}: expected {rule.expected}, found "
    f"{'null' if found is None else found}"
  )


def _numbers(value: Any) -> Iterator[Any]:
  if isinstance(value, list):
    for part in value:
      yield from _numbers(part)
  else:
    yield value


def check_vectors(
  path: pathlib.Path, vectors: Shaped[np.ndarray, "n F"], first: int = 0
) -> None:
  """Looks at all numbers of some vectors of a file.

  Args:
    path: of the file.
    vectors: of it.
    first: row of the first one.

  Raises:
    InputError: one is not finite.
  """
  if vectors.dtype.kind != "f" or np.isfinite(vectors).all():
    return
  row, place = np.argwhere(~np.isfinite(vectors))[0].tolist()
  raise errors.InputError(
    f"{path}: row {first + row}, number {place}: expected a finite number, "
    f"found {vectors[row, place]}"
  )
