"""From the values that requests name to rows of the tables, and back."""

from collections.abc import Sequence

from dicm_jax.data.preparation import vocabulary

UNKNOWN = 0
"""Row of an unknown id."""

Value = str | int


class Listed:
  """A learned vocabulary: value i has row i + 1."""

  def __init__(self, values: Sequence[str]):
    self._values = values
    self._rows: dict[Value | None, int] = {
      value: row for row, value in enumerate(values, start=1)
    }

  def row(self, value: Value | None) -> int:
    return self._rows.get(value, UNKNOWN)

  def value(self, row: int) -> Value | None:
    return self._values[row - 1] if row else None

  def grown(self, values: Sequence[str]) -> "Listed":
    """With more values behind those that it has."""
    return Listed([*self._values, *values])


class Hashed:
  """Rows by hash; nobody remembers the values.

  >>> import pyarrow as pa
  >>> from dicm_jax.data.preparation import vocabulary
  >>> log = pa.array(["a", "b", None])
  >>> rows = vocabulary.hashed_rows(log, 100).tolist()
  >>> rows == [Hashed(100).row(value) for value in ("a", "b", "")]
  True
  """

  def __init__(self, buckets: int):
    self._buckets = buckets

  def row(self, value: Value | None) -> int:
    if not value:  # In logs, too, empty text is a missing value.
      return UNKNOWN
    return 1 + vocabulary.hash_text(str(value)) % self._buckets

  def value(self, row: int) -> Value | None:
    del row
    return None


class Rows:
  """The values are the rows."""

  def __init__(self, rows: int):
    self._number = rows

  def row(self, value: Value | None) -> int:
    if not isinstance(value, int) or not 0 <= value < self._number:
      return UNKNOWN
    return value

  def value(self, row: int) -> Value | None:
    return row


Vocabulary = Listed | Hashed | Rows
