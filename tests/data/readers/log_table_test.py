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
from dicm_jax.data.readers import delimited, table, values

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


def test_what_was_read_of_a_parquet_file_is_let_go(tmp_path):
  path, rows, size = tmp_path / "log.parquet", 20_000, 200
  block = pa.table({"title": ["x" * size] * rows})
  with pq.ParquetWriter(
    path, block.schema, compression="none", use_dictionary=False
  ) as out:
    for _ in range(20):
      out.write_table(block)
  del block
  before = pa.total_allocated_bytes()
  blocks = table.raw_blocks(path, None, source.Bad("stop"))
  held = max(pa.total_allocated_bytes() - before for _ in blocks)
  # Two blocks, or so, of a file of 80 MB.
  assert held < 3 * source.BLOCK_ROWS * size


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


BREAKS = {
  "l.csv": [
    (b"1,2\n", "expected 13 fields, found 2: '1,2'"),
    (
      b"1,u\xff" + b"," * 11 + b"\n",
      "'uid': expected UTF-8 text, found b'u\\xff'",
    ),
    (b"0,u,soon" + b"," * 10 + b"\n", "field 'at': expected a time in ms"),
  ],
  "l.jsonl": [
    (b'{"clicked": 1\n', "expected a JSON object: "),
    (b"[1]\n", "expected a JSON object: found '[1]'"),
    (b'{"uid": "\xff"}\n', "expected a JSON object: 'utf-8'"),
    (b'{"uid": "\\ud800"}\n', "expected a JSON object: 'utf-8'"),
    (b"[" * 100_000 + b"\n", "expected a JSON object: found more than 100"),
  ],
}


@pytest.mark.parametrize(
  ("name", "line", "message"),
  [(name, *entry) for name, entries in BREAKS.items() for entry in entries],
)
def test_a_broken_line_is_named_or_skipped(tmp_path, name, line, message):
  path = save(tmp_path / name, ROWS)
  lines = path.read_bytes().splitlines(keepends=True)
  at = len(lines) - 1
  path.write_bytes(b"".join([*lines[:at], b"\n", b"\n", line, lines[at]]))
  with pytest.raises(errors.InputError) as caught:
    read(path)
  assert str(caught.value).startswith(f"{path}, line {at + 3}: ")
  assert message in str(caught.value)
  found, bad = read(path, policy="skip")
  assert [row["line"] for row in found] == [at, at + 4]  # Blanks count.
  assert [entry["line"] for entry in bad.found] == [at + 3]


def test_many_wrong_rows_of_csv_keep_their_numbers(tmp_path, monkeypatch):
  monkeypatch.setattr(delimited, "BLOCK", 1 << 12)
  path = save(tmp_path / "l.csv", [ROWS[0]] * 900)
  lines = path.read_text().splitlines()
  broken = set(range(3, 900, 7))
  lines = ["1,2" if n in broken else s for n, s in enumerate(lines, 1)]
  path.write_text("\n".join(lines) + "\n")
  found, bad = read(path, policy="skip")
  assert [entry["line"] for entry in bad.found] == sorted(broken)
  assert [row["line"] for row in found] == [
    n for n in range(2, 902) if n not in broken
  ]


@pytest.mark.parametrize("policy", ["stop", "skip"])
@pytest.mark.parametrize("rows", [3, 400])
def test_an_open_quote_stops_for_it_swallows_the_rest(
  tmp_path, monkeypatch, policy, rows
):
  monkeypatch.setattr(delimited, "BLOCK", 1 << 12)
  path = save(tmp_path / "l.csv", [ROWS[0]] * rows)
  lines = path.read_text().splitlines()
  lines[2] = lines[2].replace('"1"', '"1', 1)
  path.write_text("\n".join(lines).replace('"', "").replace("1,", '"1,', 1))
  with pytest.raises(errors.InputError, match="expected a closing quote"):
    read(path, policy=policy)


@pytest.mark.parametrize("field", ["clicked", "uid", "at", "stay", "fold"])
def test_a_list_for_one_value_is_that_rows_mistake(tmp_path, field):
  rows = [ROWS[0], ROWS[1] | {field: [ROWS[1][field], "2"]}, ROWS[1]]
  for name in ("l.jsonl", "l.ndjson.gz"):
    path = save(tmp_path / name, rows)
    with pytest.raises(errors.InputError, match=f"line 2: field '{field}'"):
      read(path)
    found, bad = read(path, policy="skip")
    assert [row["line"] for row in found] == [1, 3]
    assert bad.count == 1


def test_single_values_and_lists_may_stand_in_one_column(tmp_path):
  rows = [
    ROWS[0],
    ROWS[0] | {"tags": ["red", "big"], "ad": ["007"], "box": [3, 4]},
    ROWS[0] | {"tags": [], "title": ["Été, LARGE", "dress-2"]},
    ROWS[0] | {"ad": ["7", "8"]},
  ]
  found, bad = read(save(tmp_path / "l.jsonl", rows), policy="skip")
  same = EVENTS[0] | {"line": 1}
  assert found[0] == same
  assert found[1] == same | {"line": 2}
  assert found[2] == same | {"line": 3, "tags": []}
  assert [entry["line"] for entry in bad.found] == [4]
  assert "field 'ad': expected one value" in str(bad.found[0]["what"])


@pytest.mark.parametrize(
  ("field", "value"),
  [("price", "1e50"), ("likes", "a:1e50"), ("likes", ":5"), ("price", "1_0")],
)
def test_a_number_that_would_change_is_wrong(tmp_path, field, value):
  path = save(tmp_path / "l.csv", [ROWS[0] | {field: value}])
  with pytest.raises(errors.InputError, match=f"line 2: field '{field}'"):
    read(path)


def test_a_column_that_is_there_twice_is_refused(tmp_path):
  path = tmp_path / "l.csv"
  path.write_text("uid,uid\n1,2\n")
  with pytest.raises(errors.InputError, match="'uid': expected once, found 2"):
    list(table.raw_blocks(path, ("uid",), source.Bad()))
  twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["uid", "uid"])
  pq.write_table(twice, tmp_path / "l.parquet")
  with pytest.raises(errors.InputError, match="'uid': expected once, found 2"):
    list(table.raw_blocks(tmp_path / "l.parquet", None, source.Bad()))


@pytest.mark.parametrize(
  ("column", "message"),
  [
    (pa.array([{"a": 1}] * 2), r"'uid': expected text.*found struct"),
    (pa.array([["a"], ["b"]]), r"line 1: field 'uid': expected one value"),
    (pa.array([b"\xff", b"a"]), r"line 1: field 'uid': expected UTF-8"),
  ],
)
def test_types_of_parquet_that_mean_nothing_are_named(
  tmp_path, column, message
):
  path = save(tmp_path / "l.parquet", ROWS)
  found = pq.read_table(path)
  place = found.column_names.index("uid")
  pq.write_table(found.set_column(place, "uid", column), path)
  with pytest.raises(errors.InputError, match=message):
    read(path)


@pytest.mark.parametrize("name", ["l.jsonl.gz", "l.csv.gz"])
def test_damaged_compression_is_named(tmp_path, name):
  path = save(tmp_path / name, ROWS * 50)
  data = bytearray(path.read_bytes())
  data[len(data) // 2 :] = b"\xff" * 9
  path.write_bytes(data)
  with pytest.raises(errors.InputError, match="cannot be read"):
    read(path)


def test_a_log_of_clicks_alone_has_no_label(tmp_path):
  log = dataclasses.replace(SCHEMA.log, label="")
  wanted = schema.Schema(
    log=log,
    feature=SCHEMA.feature,
    split=SCHEMA.split,
    items=schema.Items(key="ad", fields=("tags",)),
    negatives=schema.Negatives(per_positive=1),
  )
  rows = [{k: v for k, v in row.items() if k != "clicked"} for row in ROWS]
  found, _ = read(save(tmp_path / "l.csv", rows), wanted)
  assert [row["label"] for row in found] == [1.0, 1.0]
  with pytest.raises(errors.InputError, match=r"\[log\] label: expected a col"):
    dataclasses.replace(wanted, negatives=schema.Negatives())


def test_a_value_that_lies_too_deep_is_named_by_line(tmp_path):
  path = save(tmp_path / "l.jsonl", ROWS)
  deep = b'{"uid": ' + b"[" * 600 + b"]" * 600 + b"}\n"
  path.write_bytes(path.read_bytes() + deep)
  with pytest.raises(errors.InputError, match=r"line 3: .* than 100 levels"):
    read(path)
  found, bad = read(path, policy="skip")
  assert (len(found), bad.count) == (2, 1)


def test_brackets_within_a_text_lie_not_deep(tmp_path):
  rows = [ROWS[0] | {"uid": "[" * 600}, ROWS[1]]
  found, _ = read(save(tmp_path / "l.jsonl", rows))
  assert found[0]["user"] == "[" * 600


def test_a_name_of_its_own_in_each_line_is_refused(tmp_path):
  """A table of them would take a place for each name in each line."""
  path = tmp_path / "l.jsonl"
  path.write_bytes(b"".join(b'{"k%d": 1}\n' % i for i in range(2000)))
  with pytest.raises(errors.InputError, match="line 1001: expected at most"):
    list(table.raw_blocks(path, None, source.Bad()))


def test_too_many_columns_and_too_long_a_name_are_named(tmp_path):
  path = tmp_path / "l.csv"
  path.write_text(",".join(f"c{i}" for i in range(10_001)) + "\n")
  with pytest.raises(
    errors.InputError, match=r"l\.csv: expected at most 10,000"
  ):
    list(table.raw_blocks(path, None, source.Bad()))
  path.write_text("c" * 200_000 + "\n1\n")
  with pytest.raises(errors.InputError, match=r"l\.csv, line 1: expected the"):
    read(path)


@pytest.mark.parametrize("policy", source.BAD_POLICIES)
def test_a_short_row_that_is_no_text_is_named_by_line(tmp_path, policy, capsys):
  path = save(tmp_path / "l.csv", ROWS)
  path.write_bytes(path.read_bytes() + b"\xff,1\n")
  with pytest.raises(errors.InputError, match=r"line 4: expected 13 fields"):
    read(path, policy=policy)
  assert capsys.readouterr().err == ""  # Nor a traceback on the terminal.


@pytest.mark.parametrize("name", ["uid", "clicked", "tags", "price", "title"])
def test_a_type_that_nothing_can_show_is_named(tmp_path, name):
  path = save(tmp_path / "l.parquet", ROWS)
  found = pq.read_table(path)
  place = found.column_names.index(name)
  column = pa.array([1, 2], pa.timestamp("us", "Mars/Olympus"))
  pq.write_table(found.set_column(place, name, column), path)
  with pytest.raises(errors.InputError, match=rf"l\.parquet: column '{name}'"):
    read(path)


@pytest.mark.parametrize("name", ["uid", "likes"])
def test_text_of_parquet_that_is_none_is_named(tmp_path, name):
  path = save(tmp_path / "l.parquet", [ROWS[0], ROWS[1] | {"likes": "c"}])
  found = pq.read_table(path)
  broken = pa.array([b"a", b"\xff"]).view(pa.string())
  if name == "likes":
    ends = pa.array([0, 1, 2], pa.int32())
    broken = pa.ListArray.from_arrays(ends, broken)
  place = found.column_names.index(name)
  pq.write_table(found.set_column(place, name, broken), path)
  message = "line 2: field 'uid'" if name == "uid" else "Invalid UTF8"
  with pytest.raises(errors.InputError, match=message):
    read(path)
