"""The store of pictures: rows, resuming, and what is left out."""

import pyarrow.parquet as pq
import pytest

from dicm_jax.data import image_store, source
from tests.data import logs

GOOD = {f"k{i:02d}": logs.png(i) for i in range(10)}
BROKEN = b"no picture"


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
  monkeypatch.setattr(image_store, "PART_PICTURES", 4)


def write(folder, given, tell=None):
  bad = source.Bad("skip")
  keys = image_store.write(
    folder, logs.Pictures(given), {*given, "missing"}, bad, tell
  )
  return keys, bad.found


def contents(folder):
  return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.mark.parametrize(
  "given",
  [
    GOOD,
    GOOD | {"k10": BROKEN, "k11": BROKEN},
    GOOD | {"k02": BROKEN, "k09": BROKEN},
    {"a": BROKEN, "b": BROKEN},
  ],
  ids=["good", "last bad", "middle bad", "all bad"],
)
def test_killed_after_any_part_it_ends_with_the_same_bytes(tmp_path, given):
  whole = write(tmp_path / "whole", given)
  expected = contents(tmp_path / "whole")
  for kept in range(len(expected) + 1):
    folder = tmp_path / str(kept)
    folder.mkdir()
    for name in sorted(expected)[:kept]:
      (folder / name).write_bytes(expected[name])
    assert write(folder, given) == whole
    assert contents(folder) == expected


def test_rows_are_found_by_the_names_of_their_files(tmp_path):
  given = GOOD | {"k02": BROKEN}
  keys = ["", *write(tmp_path, given)[0]]
  assert image_store.count(tmp_path) == len(keys) == 10
  for start in range(11):
    for stop in range(start, 12):
      rows = slice(start, stop)
      assert image_store.names(tmp_path, rows) == keys[rows]
  store = image_store.ImageStore(tmp_path, 3, 9)
  assert store[:] == [given[key] for key in keys[3:9]]
  firsts = [
    pq.read_table(p)["row"][0].as_py() for p in sorted(tmp_path.iterdir())
  ]
  assert firsts == [0, 4, 8]


def test_progress_begins_where_an_earlier_run_ended(tmp_path):
  told = []
  write(tmp_path, GOOD, lambda *state: told.append(state))
  assert told == [(done, 11) for done in range(1, 12)]
  sorted(tmp_path.iterdir())[-1].unlink()
  told.clear()
  write(tmp_path, GOOD, lambda *state: told.append(state))
  assert told == [(8, 11), (9, 11), (10, 11), (11, 11)]
