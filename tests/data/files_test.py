"""Files are there as a whole or not at all."""

import threading

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dicm_jax.data import files


def test_two_writers_of_one_file_do_not_meet(tmp_path):
  path, table, failed = tmp_path / "a.parquet", pa.table({"x": [1] * 999}), []

  def write():
    try:
      for _ in range(50):
        files.write_parquet(path, table)
    except OSError as e:
      failed.append(e)

  threads = [threading.Thread(target=write) for _ in range(3)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert not failed
  assert pq.read_table(path) == table
  assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_fails_leaves_what_was_there(tmp_path):
  path = tmp_path / "a.json"
  files.write_json(path, 1)
  with pytest.raises(TypeError):
    files.write_json(path, object())
  with pytest.raises(KeyboardInterrupt), files.whole(path) as part:
    part.write_text("half")
    raise KeyboardInterrupt
  assert path.read_text() == "1\n"
  assert list(tmp_path.iterdir()) == [path]


def test_what_killed_writers_left_is_removed(tmp_path):
  for name in ("a.parquet.0f.part", "in/b.json.0f.part", "in/c.parquet"):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
  files.remove_parts(tmp_path)
  assert [p.name for p in tmp_path.rglob("*.*")] == ["c.parquet"]
