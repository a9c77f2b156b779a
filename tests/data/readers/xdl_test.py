"""The XDL example's text and image records: read back, and wrong ones named."""

import re

import numpy as np
import pytest

from dicm_jax import errors
from dicm_jax.data import schema_file, source
from dicm_jax.data.readers import (
  xdl,
  xdl_example,
  xdl_infer,
  xdl_records,
  xdl_write,
)

LINE = (
  "skey0|gkey0|user0@5:0.52,9:0.11;user_img@3:0.5,8:0.1|ad0@0.7;ad_img@5:0.2"
  "|0.31|1540000000"
)
SCHEMA = schema_file.from_dict(
  {
    "log": {
      "label": "labels",
      "user": "group key",
      "time": "timestamp",
      "group": "group key",
      "positive_from": 0.5,
    },
    "split": {"rule": "user", "test_share": 0.1},
    "feature": [
      {"name": "user0", "side": "user", "kind": "ids", "weighted": True},
      {"name": "user_img", "side": "user", "kind": "images"},
      {"name": "ad0", "side": "ad", "kind": "dense"},
      {"name": "ad_img", "side": "ad", "kind": "image"},
    ],
  }
)
EVENT = {
  "label": 0.0,
  "user": "gkey0",
  "time": 1540000000000,
  "line": 1,
  "group": "gkey0",
  "user0": ["5", "9"],
  "user0.weight": [pytest.approx(0.52), pytest.approx(0.11)],
  "user_img": ["3", "8"],
  "ad0": [pytest.approx(0.7)],
  "ad_img": "5",
}


def read(path, lines, policy="stop"):
  path.write_text("".join(line + "\n" for line in lines))
  bad = source.Bad(policy)
  blocks = list(xdl.read(path, SCHEMA, bad))
  return [row for block in blocks for row in block.to_pylist()], bad


def test_the_examples_line_is_read_as_the_format_says(tmp_path):
  found, _ = read(tmp_path / "s.txt", [LINE])
  assert found == [EVENT]


def test_lines_of_a_group_share_the_users_features(tmp_path):
  second = "skey1|gkey0||ad_img@6|0.9|1540000001"
  found, _ = read(tmp_path / "s.txt", [LINE, second])
  assert found[1] == EVENT | {
    "label": 1.0,
    "time": 1540000001000,
    "line": 2,
    "ad0": [],
    "ad_img": "6",
  }


@pytest.mark.parametrize(
  ("line", "message"),
  [
    ("a|b|c", "expected 6 fields between '|', found 3"),
    (LINE.replace("skey0", ""), "field 'skey': expected a key"),
    (LINE.replace("user0@", "user0:"), "expected features as name@values"),
    (LINE.replace("ad0@0.7", "ad0@0.7,0.8"), "expected 1 numbers, found 2"),
    (LINE.replace("ad0@0.7", "ad0@x"), "'ad0': expected a number, found 'x'"),
    (LINE.replace("0.31", "nan"), "'labels': expected a finite number"),
    (LINE.replace("1540000000", "now"), "expected a whole number, found 'now'"),
    (LINE.replace("ad_img@5:0.2", "ad_img@5,6"), "expected 1 id, found 2"),
    (LINE.replace("user0@", "usr0@"), "'usr0'; did you mean 'user0'"),
    (LINE.replace("9:0.11", ":0.11"), "expected an id, found ':0.11'"),
    (
      LINE.replace("|ad0", ";user0@1|ad0"),
      "feature 'user0': expected once, found twice",
    ),
  ],
)
def test_a_wrong_line_is_named_or_skipped(tmp_path, line, message):
  path = tmp_path / "s.txt"
  lines = [LINE.replace("gkey0", "other"), line, LINE]
  with pytest.raises(errors.InputError) as caught:
    read(path, lines)
  assert str(caught.value).startswith(f"{path}, line 2: ")
  assert message in str(caught.value)
  found, bad = read(path, lines, "skip")
  assert [row["line"] for row in found] == [1, 3]
  assert bad.count == 1


def test_a_group_with_two_users_is_wrong(tmp_path):
  other = LINE.replace("9:0.11", "9:0.12")
  with pytest.raises(errors.InputError, match="line 2: group 'gkey0'"):
    read(tmp_path / "s.txt", [LINE, other])


def test_written_samples_are_read_back(tmp_path):
  xdl_example.generate(tmp_path, samples=200, images=50, files=8, width=6)
  path = tmp_path / "samples.txt"
  inferred = xdl_infer.infer(path)
  found = [
    row
    for block in xdl.read(path, inferred, source.Bad())
    for row in block.to_pylist()
  ]
  lines = [
    xdl_write.Line(
      skey=f"skey{i}",
      group=row["group"],
      user={
        name: list(zip(row[name], row[f"{name}.weight"], strict=True))
        for name in ("user0", "user1")
      }
      | {"user_img": row["user_img"]},
      ad={"ad0": row["ad0"], "ad_img": [row["ad_img"]]},
      labels=[row["label"]],
      time=row["time"] // 1000,
    )
    for i, row in enumerate(found)
  ]
  xdl_write.write(tmp_path / "again.txt", lines)
  again = [
    row
    for block in xdl.read(tmp_path / "again.txt", inferred, source.Bad())
    for row in block.to_pylist()
  ]
  assert len(again) == 200
  for row in found:
    row["ad1"], row["ad1.weight"] = [], []
  for row in again:
    row["line"] += 0
  assert again == found


def test_a_schema_is_inferred_from_the_first_lines(tmp_path):
  path = tmp_path / "s.txt"
  xdl_example.generate(tmp_path, samples=300, images=50, files=8, width=6)
  found = xdl_infer.infer(tmp_path / "samples.txt")
  assert {f.name: (f.side, f.kind, f.weighted) for f in found.feature} == {
    "user0": ("user", "ids", True),
    "user1": ("user", "ids", True),
    "user_img": ("user", "images", False),
    "ad0": ("ad", "dense", False),
    "ad1": ("ad", "ids", True),
    "ad_img": ("ad", "image", False),
  }
  assert found.log.positive_from == 0.5
  assert found.split.rule == "time"
  read(path, [LINE])
  assert xdl_infer.infer(path).split.rule == "user"


def test_the_writer_refuses_the_formats_own_marks(tmp_path):
  line = xdl_write.Line("s", "g|h", {}, {}, [0.0], 0)
  with pytest.raises(errors.InputError, match=re.escape("'g|h'")):
    xdl_write.write(tmp_path / "s.txt", [line])


IDS = np.arange(1, 31)
VECTORS = np.random.default_rng(0).standard_normal((30, 5)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
  xdl_records.write(tmp_path / "images", IDS, VECTORS, 4)
  return tmp_path / "images"


def records_of(folder, policy="stop", width=5):
  bad = source.Bad(policy)
  records = xdl_records.Records(folder, width, bad)
  keys = list(records.keys())
  found = {}
  for block_keys, block in records.read(set(keys)):
    found |= dict(zip(block_keys, block.tolist(), strict=True))
  assert list(found) == keys
  return found, bad


def test_records_have_the_formats_bytes(folder):
  first = (folder / "data.1").read_bytes()
  assert len(first) == 8 * (8 + 5 * 4)
  assert int.from_bytes(first[:8], "little") == 1
  assert np.frombuffer(first[8:28], "<f4").tolist() == VECTORS[0].tolist()


def test_written_records_are_read_back(folder):
  found, _ = records_of(folder)
  assert found == {
    str(i): v.tolist() for i, v in zip(IDS, VECTORS, strict=True)
  }


def test_records_come_in_blocks_and_only_those_wanted(folder, monkeypatch):
  monkeypatch.setattr(xdl_records, "BLOCK", 4)
  records = xdl_records.Records(folder, 5)
  wanted = {"1", "2", "5", "9", "13", "30"}
  blocks = list(records.read(wanted))
  assert [len(keys) for keys, _ in blocks] == [4, 2]
  assert {k for keys, _ in blocks for k in keys} == wanted


def damage(folder, what):
  file = folder / "data.1"
  data = file.read_bytes()
  size = 28
  wrong = {
    "short": data[:-3],
    "twice": data + data[:size],
    "place": data + (4).to_bytes(8, "little") + data[8:size],
    "nan": data[: 8 + size] + b"\x00\x00\xc0\x7f" + data[12 + size :],
  }
  file.write_bytes(wrong[what])


@pytest.mark.parametrize(
  ("what", "where", "message", "left"),
  [
    ("short", 196, "expected a record of 28 bytes", 29),
    ("twice", 224, "image id 1: occurs twice, first at data.1, offset 0", 30),
    ("place", 224, "image id 4: expected in data.0 (4 files)", 30),
    ("nan", 28, "image id 5: expected finite numbers", 29),
  ],
)
def test_a_wrong_record_is_named_or_skipped(folder, what, where, message, left):
  damage(folder, what)
  with pytest.raises(errors.InputError) as caught:
    records_of(folder)
  assert f"data.1, offset {where}: " in str(caught.value)
  assert message in str(caught.value)
  found, bad = records_of(folder, "skip")
  assert len(found) == left
  assert bad.count == 1


def test_another_width_is_named(folder):
  with pytest.raises(errors.InputError, match="is the width another"):
    records_of(folder, width=6)


def test_a_missing_file_is_named(folder):
  (folder / "data.2").unlink()
  with pytest.raises(errors.InputError, match=r"data\.2 is missing"):
    xdl_records.Records(folder, 5)
  with pytest.raises(errors.InputError, match="found none"):
    xdl_records.Records(folder.parent, 5)
