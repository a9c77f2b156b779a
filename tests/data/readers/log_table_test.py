"""Logs as CSV, JSON lines and Parquet mean the same; wrong lines are named."""

import dataclasses
import gzip
import json
import pathlib

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from dicm_jax import errors
from dicm_jax.data import schema, schema_file, source
from dicm_jax.data.readers import table, values

SCHEMA = schema_file.from_dict(
  {
    "log": {
      "label": "clicked",
      "user": "uid",
      "time": "at",
      "time_unit": "ms",
      "group": "page",
      "dwell": "stay",
    },
    "split": {"rule": "column", "column": "fold", "test_value": "test"},
    "feature": [
      {"name": "user_id", "column": "uid", "side": "user", "kind": "id"},
      {"name": "ad", "side": "ad", "kind": "id"},
      {"name": "tags", "side": "ad", "kind": "ids"},
      {
        "name": "likes",
        "side": "user",
        "kind": "ids",
        "weighted": True,
        "separator": " ",
      },
      {"name": "price", "side": "ad", "kind": "dense"},
      {"name": "box", "side": "ad", "kind": "dense", "dimension": 2},
      {"name": "words", "column": "title", "side": "ad", "kind": "text"},
      {"name": "picture", "side": "ad", "kind": "image"},
    ],
  }
)

ROWS = [
  {
    "clicked": "1",
    "uid": "9007199254740993",
    "at": "1700000000000",
    "page": "p1",
    "stay": "2.5",
    "fold": "train",
    "ad": "007",
    "tags": "red|big",
    "likes": "a:0.5 b",
    "price": "1.25",
    "box": "3|4",
    "title": "Été, LARGE dress-2",
    "picture": "shots/7.front.JPG",
  },
  {
    "clicked": "0",
    "uid": "8",
    "at": "1700000000001",
    "page": "p2",
    "stay": "",
    "fold": "test",
    "ad": "8",
    "tags": "",
    "likes": "",
    "price": "",
    "box": "5|6",
    "title": "",
    "picture": "",
  },
]
EVENTS = [
  {
    "label": 1.0,
    "user": "9007199254740993",
    "time": 1700000000000,
    "group": "p1",
    "dwell": 2.5,
    "test": False,
    "user_id": "9007199254740993",
    "ad": "007",
    "tags": ["red", "big"],
    "likes": ["a", "b"],
    "likes.weight": [0.5, 1.0],
    "price": [1.25],
    "box": [3.0, 4.0],
    "words": ["été", "large", "dress", "2"],
    "picture": "7.front",
  },
  {
    "label": 0.0,
    "user": "8",
    "time": 1700000000001,
    "group": "p2",
    "dwell": 0.0,
    "test": True,
    "user_id": "8",
    "ad": "8",
    "tags": [],
    "likes": [],
    "likes.weight": [],
    "price": [],
    "box": [5.0, 6.0],
    "words": [],
    "picture": None,
  },
]


def save(path: pathlib.Path, rows: list[dict]) -> pathlib.Path:
  """Writes rows in the format that the path's name says."""
  kind = table.kind_of(path)
  if kind == "parquet":
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path
  if kind == "csv":
    sep = "\t" if ".tsv" in path.suffixes else ","
    lines = [sep.join(rows[0])]
    lines += [sep.join(f'"{v}"' for v in row.values()) for row in rows]
  else:
    lines = [json.dumps(row) for row in rows]
  data = ("\n".join(lines) + "\n").encode()
  path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
  return path


def read(path, wanted=SCHEMA, policy="stop"):
  bad = source.Bad(policy)
  blocks = list(table.read(path, wanted, bad))
  for block in blocks:
    assert block.schema == schema.block_schema(wanted)
  return [row for block in blocks for row in block.to_pylist()], bad


@pytest.mark.parametrize(
  "name",
  ["l.csv", "l.tsv", "l.csv.gz", "l.jsonl", "l.ndjson.gz", "l.parquet"],
)
def test_every_format_gives_the_same_events(tmp_path, name):
  path = save(tmp_path / name, ROWS)
  found, _ = read(path)
  first = 2 if ".csv" in name or ".tsv" in name else 1
  lines = [first, first + 1]
  assert found == [
    event | {"line": line} for event, line in zip(EVENTS, lines, strict=True)
  ]


def test_native_types_of_parquet_mean_the_same(tmp_path):
  rows = [
    ROWS[0]
    | {
      "clicked": True,
      "uid": 9007199254740993,
      "at": 1700000000000,
      "stay": 2.5,
      "tags": ["red", "big"],
      "price": 1.25,
      "box": [3.0, 4.0],
    },
    ROWS[1]
    | {
      "clicked": False,
      "uid": 8,
      "at": 1700000000001,
      "stay": None,
      "tags": [],
      "price": None,
      "box": [5.0, 6.0],
    },
  ]
  found, _ = read(save(tmp_path / "l.parquet", rows))
  assert [{k: v for k, v in row.items() if k != "line"} for row in found] == (
    EVENTS
  )


def test_ids_that_pandas_made_floats_have_no_point(tmp_path):
  path = tmp_path / "l.parquet"
  pq.write_table(pa.table({"ad": [5.0, None, 6.5]}), path)
  (_, raw), *_ = table.raw_blocks(path, ("ad",), source.Bad())
  assert values.as_text(raw["ad"].combine_chunks()).to_pylist() == [
    "5",
    None,
    "6.5",
  ]


@pytest.mark.parametrize(
  ("unit", "text"),
  [
    ("s", "1700000000"),
    ("ms", "1700000000000"),
    ("us", "1700000000000000"),
    ("iso", "2023-11-14T22:13:20"),
    ("iso", "2023-11-14T23:13:20+01:00"),
  ],
)
def test_units_of_time(tmp_path, unit, text):
  wanted = dataclasses.replace(
    SCHEMA, log=dataclasses.replace(SCHEMA.log, time_unit=unit)
  )
  path = save(tmp_path / "l.csv", [ROWS[0] | {"at": text}])
  found, _ = read(path, wanted)
  assert found[0]["time"] == 1700000000000


WRONG = [
  ("clicked", "maybe", "expected 0 or 1, found 'maybe'"),
  ("uid", "", "field 'uid': expected one value, found None"),
  ("at", "soon", "expected a time in ms since 1970, found 'soon'"),
  ("stay", "-1", "expected seconds, >= 0, found '-1'"),
  ("price", "cheap", "field 'price': expected a number, found 'cheap'"),
  ("box", "3", "field 'box': expected 2 numbers, found '3'"),
  ("likes", "a:x", "expected values `id` or `id:weight`, found 'a:x'"),
]


@pytest.mark.parametrize(("field", "value", "message"), WRONG)
@pytest.mark.parametrize("name", ["l.csv", "l.jsonl", "l.parquet"])
def test_a_wrong_value_is_named_or_skipped(
  tmp_path, name, field, value, message
):
  rows = [ROWS[0], ROWS[1] | {field: value}, ROWS[1]]
  path = save(tmp_path / name, rows)
  line = 3 if name == "l.csv" else 2
  with pytest.raises(errors.InputError) as caught:
    read(path)
  assert str(caught.value).startswith(f"{path}, line {line}: ")
  assert message in str(caught.value)
  found, bad = read(path, policy="skip")
  assert len(found) == 2
  assert bad.count == 1
  assert bad.found[0]["line"] == line


def test_a_missing_column_is_named_with_the_nearest(tmp_path):
  rows = [{("add" if k == "ad" else k): v for k, v in ROWS[0].items()}]
  for name in ("l.csv", "l.jsonl", "l.parquet"):
    path = save(tmp_path / name, rows)
    with pytest.raises(errors.InputError, match=r"column 'ad'; did you mean"):
      read(path)


def test_unreadable_files_are_named(tmp_path):
  broken = {
    "l.csv": b'a,b\n1,2\n3,"4\n',
    "l.csv.gz": b"no gzip",
    "l.jsonl": b'{"clicked": 1\n',
    "l.parquet": b"PAR1 but not really",
    "l.xlsx": b"",
  }
  for name, data in broken.items():
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(errors.InputError, match=str(path)):
      read(path)


def test_a_large_csv_comes_in_blocks(tmp_path, monkeypatch):
  monkeypatch.setattr(source, "BLOCK_ROWS", 100)
  path = save(tmp_path / "l.csv", [ROWS[0]] * 1050)
  blocks = list(table.read(path, SCHEMA, source.Bad()))
  assert max(map(len, blocks)) <= 100
  lines = [n for block in blocks for n in block["line"].to_pylist()]
  assert lines == list(range(2, 1052))


def test_quoted_line_breaks_are_one_row(tmp_path):
  path = save(tmp_path / "l.csv", [ROWS[0] | {"title": "one\ntwo"}, ROWS[1]])
  found, _ = read(path)
  assert [row["words"] for row in found] == [["one", "two"], []]


def test_items_repeat_no_key(tmp_path):
  wanted = schema_file.from_dict(
    {
      "log": {"label": "y", "user": "u", "time": "t"},
      "split": {"rule": "user", "test_share": 0.5},
      "items": {"key": "ad", "fields": ["tags"]},
      "feature": [{"name": "tags", "side": "ad", "kind": "ids"}],
    }
  )
  path = save(tmp_path / "items.csv", [ROWS[0], ROWS[1], ROWS[0]])
  with pytest.raises(
    errors.InputError, match="line 4: item '007': occurs twice, first in line 2"
  ):
    table.read_items(path, wanted, source.Bad())
  bad = source.Bad("skip")
  found = table.read_items(path, wanted, bad)
  assert found.to_pylist() == [
    {"item": "007", "tags": ["red", "big"]},
    {"item": "8", "tags": []},
  ]
  assert bad.count == 1
