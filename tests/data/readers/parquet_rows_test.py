"""Files of a MB that hold gigabytes are read in few rows, or refused."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dicm_jax import errors
from dicm_jax.data import source
from dicm_jax.data.readers import parquet_rows, table


def save(path, word: str, rows: int, *, length: int = 0):
  """The same word in each row, or so many times in each."""
  numbers = np.zeros(rows * max(length, 1), np.int32)
  column = pa.DictionaryArray.from_arrays(numbers, [word])
  if length:
    ends = pa.array(np.arange(0, len(numbers) + 1, length, dtype=np.int32))
    column = pa.ListArray.from_arrays(ends, column)
  made = pa.table({"word": column, "n": np.arange(rows)})
  pq.write_table(made, path, dictionary_pagesize_limit=1 << 30)
  return path


def test_plain_files_are_read_in_whole_blocks(tmp_path):
  path = save(tmp_path / "l.parquet", "word", 1000)
  assert parquet_rows.fitting(path, ["word", "n"], 100) == 100


@pytest.mark.parametrize("length", [0, 1])
def test_long_words_are_read_few_at_a_time(tmp_path, monkeypatch, length):
  monkeypatch.setattr(parquet_rows, "BYTES", 1 << 20)
  path = save(tmp_path / "l.parquet", "w" * (1 << 16), 1000, length=length)
  assert path.stat().st_size < 1 << 18
  assert parquet_rows.fitting(path, ["word"], 500) == 16
  assert parquet_rows.fitting(path, ["n"], 500) == 500
  blocks = list(table.raw_blocks(path, ("word",), source.Bad()))
  assert sum(len(block) for _, block in blocks) == 1000
  assert max(block.nbytes for _, block in blocks) < 2 << 20
  lines = np.concatenate([lines for lines, _ in blocks])
  np.testing.assert_array_equal(lines, np.arange(1, 1001))


def test_a_row_that_is_too_large_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(parquet_rows, "BYTES", 1 << 20)
  path = save(tmp_path / "l.parquet", "w" * 1000, 2, length=2000)
  with pytest.raises(errors.InputError, match=r"'word.*rows of at most 1 MB"):
    list(table.raw_blocks(path, ("word",), source.Bad()))


def test_a_footer_whose_parts_disagree_is_refused(tmp_path):
  path = tmp_path / "log.parquet"
  pq.write_table(pa.table({"words": ["a", "b"]}), path)
  schema, row_group, *more = re.split(rb"(?<=words)", path.read_bytes())
  changed = row_group.replace(b"words", b"wordy")
  path.write_bytes(b"".join([schema, changed, *more]))
  with pytest.raises(errors.InputError) as caught:
    parquet_rows.fitting(path, ["words"], 100)
  assert str(caught.value) == (
    f"{path}: damaged footer: expected column 'words' in row group 0, found "
    "'wordy'"
  )
