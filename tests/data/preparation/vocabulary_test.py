"""Counting values in bounded memory."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dicm_jax import errors
from dicm_jax.data.preparation import vocabulary


def files(folder, count: int = 9):
  rng = np.random.default_rng(0)
  paths, tables = [], []
  for i in range(count):
    values = [f"v{v}" for v in rng.integers(0, 300, 200).tolist()]
    tables.append(vocabulary.count(pa.array(values)))
    paths.append(folder / f"{i}.parquet")
    pq.write_table(tables[-1], paths[-1])
  return paths, vocabulary.merge(tables)


@pytest.mark.parametrize("most", [7, 50, 299, 10_000])
def test_counts_are_added_up_whatever_fits_at_a_time(
  tmp_path, monkeypatch, most
):
  paths, expected = files(tmp_path)
  monkeypatch.setattr(vocabulary, "MERGE_VALUES", most)
  parts = list(vocabulary.merge_files(paths))
  assert max(map(len, parts)) <= most
  found = pa.concat_tables(parts)
  assert found.to_pydict() == expected.to_pydict()


def test_a_vocabulary_too_large_is_refused_before_all_is_counted(
  tmp_path, monkeypatch
):
  paths, counts = files(tmp_path)
  monkeypatch.setattr(vocabulary, "MERGE_VALUES", 50)
  monkeypatch.setattr(vocabulary, "MAX_VALUES", 120)
  parts = vocabulary.merge_files(paths)
  with pytest.raises(errors.InputError, match="at most 120 values, found"):
    vocabulary.learn(parts, 1, "item")
  assert list(parts)  # There was more to count.
  often = int(np.sort(counts["count"].to_numpy())[-100])
  kept = vocabulary.learn(vocabulary.merge_files(paths), often, "item")
  assert kept["count"].to_pylist() == sorted(
    (c for c in counts["count"].to_pylist() if c >= often), reverse=True
  )


@pytest.mark.parametrize("buckets", [1, 3, 2**31 - 2])
def test_hashed_rows_begin_at_one(buckets):
  values = pa.array([f"v{i}" for i in range(5000)] + [None])
  rows = vocabulary.hashed_rows(values, buckets)
  assert rows[-1] == 0
  assert 1 <= rows[:-1].min() <= rows.max() <= buckets
  assert len(np.unique(rows[:-1])) == min(buckets, 5000)
