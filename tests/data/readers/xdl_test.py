"""The XDL example's text and image records: read back, and wrong ones named."""

import dataclasses
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
  texts = path.read_text().splitlines()
  lines = [written(text) for text in texts]
  xdl_write.write(tmp_path / "again.txt", lines)
  assert (tmp_path / "again.txt").read_text().splitlines() == texts
  assert {len(line.ad["ad1"]) for line in lines} == {1}
  assert len({line.labels[0] for line in lines}) == 200  # Not 0 and 1 alone.

  inferred = xdl_infer.infer(path)
  found = [
    row
    for block in xdl.read(path, inferred, source.Bad())
    for row in block.to_pylist()
  ]
  users: dict[str, dict] = {}
  for row, line in zip(found, lines, strict=True):
    user = users.setdefault(line.group, line.user)
    assert row["label"] == float(line.labels[0] >= 0.5)
    assert (row["group"], row["time"]) == (line.group, line.time * 1000)
    for name, values in (user | line.ad).items():
      assert ids_of(row, name) == [value[0] for value in pairs(values)]
      if f"{name}.weight" in row:
        weights = [weight for _, weight in pairs(values)]
        assert row[f"{name}.weight"] == pytest.approx(weights)


def written(text: str) -> xdl_write.Line:
  """A line of the file, taken apart by other means than the reader's."""
  skey, group, user, ad, label, time = text.split("|")

  def values(name: str, part: str):
    if name == "ad0":
      return [float(value) for value in part.split(",")]
    pairs = [value.split(":") for value in part.split(",")]
    return [(id_, float(weight)) for id_, weight in pairs]

  def features(block: str):
    named = [feature.split("@") for feature in block.split(";") if feature]
    return {name: values(name, part) for name, part in named}

  return xdl_write.Line(
    skey, group, features(user), features(ad), [float(label)], int(time)
  )


def pairs(values):
  return [v if isinstance(v, tuple) else (pytest.approx(v), 1) for v in values]


def ids_of(row, name: str) -> list:
  return row[name] if isinstance(row[name], list) else [row[name]]


GROUP = [
  LINE,
  "skey1|gkey0||ad_img@6|0.9|1540000001",
  LINE.replace("gkey0", "gkey1").replace("user0@5", "user0@6"),
]


def ids(found) -> list:
  return [(row["line"], row["user0"]) for row in found]


def test_a_wrong_first_line_leaves_the_group_its_user(tmp_path):
  lines = [GROUP[0].replace("|0.31|", "|x|"), *GROUP[1:]]
  found, bad = read(tmp_path / "s.txt", lines, "skip")
  assert ids(found) == [(2, ["5", "9"]), (3, ["6", "9"])]
  assert bad.count == 1


@pytest.mark.parametrize(
  "first", ["a|b|c", GROUP[0].replace("5:0.52", "5:x"), "\udcff"]
)
def test_a_group_whose_users_line_is_wrong_goes_with_it(tmp_path, first):
  path = tmp_path / "s.txt"
  data = "\n".join([first, *GROUP[1:]]).encode(errors="surrogateescape")
  path.write_bytes(data)
  bad = source.Bad("skip")
  blocks = list(xdl.read(path, SCHEMA, bad))
  assert ids([r for b in blocks for r in b.to_pylist()]) == [(3, ["6", "9"])]
  assert [entry["line"] for entry in bad.found] == [1, 2]
  assert "which may be line 1, a wrong one" in str(bad.found[1]["what"])


@pytest.mark.parametrize(
  ("line", "message"),
  [
    (LINE.replace("|ad0", "|user0@9;ad0"), "expected of the user, found of"),
    (
      LINE.replace("user_img@3:0.5,8:0.1|", "|user_img@3;"),
      "expected of the user, found of the ad",
    ),
    (LINE.replace("|0.31|", "|0.31,1|"), "expected 1 label, found 2"),
    (LINE.replace("1540000000", "1" * 23), "expected seconds since 1970"),
    (LINE.replace("ad0@0.7", "ad0@1e50"), "'ad0': expected a finite number"),
    (LINE.replace("ad0@0.7", "ad0@1_0"), "'ad0': expected a number"),
  ],
)
def test_what_would_be_altered_in_silence_is_wrong(tmp_path, line, message):
  with pytest.raises(errors.InputError, match=message):
    read(tmp_path / "s.txt", [line])


def test_one_of_several_labels_is_taken_by_its_number(tmp_path):
  path = tmp_path / "s.txt"
  path.write_text(LINE.replace("|0.31|", "|0.31,1|") + "\n")
  for name, label in (("labels.0", 0.0), ("labels.1", 1.0)):
    log = dataclasses.replace(SCHEMA.log, label=name)
    wanted = dataclasses.replace(SCHEMA, log=log)
    (block,) = xdl.read(path, wanted, source.Bad())
    assert block["label"].to_pylist() == [label]
  assert xdl_infer.infer(path).log.label == "labels.0"


@pytest.mark.parametrize(
  "wrong",
  [
    "garbage",
    LINE.replace("ad0@0.7", "ad0@0.7,0.8"),
    LINE.replace("1540000000", "1" * 23),
    LINE.replace("|ad0", "|user0@9;ad0"),
    LINE.replace("0.31", "x"),
  ],
)
@pytest.mark.parametrize("place", [0, 3, 6])
def test_a_schema_is_what_most_lines_say(tmp_path, wrong, place):
  path = tmp_path / "s.txt"
  groups = [LINE.replace("gkey0", f"g{i}") for i in range(6)]
  path.write_text("\n".join(groups) + "\n")
  expected = xdl_infer.infer(path)
  groups.insert(place, wrong)
  path.write_text("\n".join(groups) + "\n")
  assert xdl_infer.infer(path) == expected
  bad = source.Bad("skip")
  assert sum(len(b) for b in xdl.read(path, expected, bad)) == 6
  assert [entry["line"] for entry in bad.found] == [place + 1]


def test_a_file_of_wrong_lines_has_no_schema(tmp_path):
  (tmp_path / "s.txt").write_text("garbage\n")
  with pytest.raises(errors.InputError, match="found none; line 1: expected 6"):
    xdl_infer.infer(tmp_path / "s.txt")


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


@pytest.mark.parametrize("policy", ["stop", "skip"])
@pytest.mark.parametrize("width", [4, 6, 12])
@pytest.mark.parametrize("files", [1, 4])
def test_another_width_always_stops(tmp_path, width, policy, files):
  xdl_records.write(tmp_path / "i", IDS, VECTORS, files)
  with pytest.raises(errors.InputError, match="is the width another"):
    records_of(tmp_path / "i", policy, width)


@pytest.mark.parametrize("width", [1, 5, 512])
@pytest.mark.parametrize("files", [1, 4, 30])
@pytest.mark.parametrize("sparse", [False, True])
def test_the_width_is_found(tmp_path, width, files, sparse):
  vectors = np.random.default_rng(0).standard_normal((60, width), np.float32)
  vectors = (
    np.maximum(vectors, 0) if sparse else vectors
  )  # Zeros look like ids.
  xdl_records.write(tmp_path, np.arange(1, 61), vectors, files)
  found, _ = records_of(tmp_path, width=0)
  assert found == {str(i): v.tolist() for i, v in enumerate(vectors, start=1)}


def test_records_without_a_width_are_named(tmp_path):
  noise = np.random.default_rng(0).standard_normal(4000, np.float32)
  (tmp_path / "data.0").write_bytes(noise.tobytes())
  with pytest.raises(errors.InputError, match="Give it by --vectors_width"):
    xdl_records.Records(tmp_path)


def test_bytes_missing_in_the_middle_leave_out_what_follows(folder):
  file = folder / "data.1"
  data = file.read_bytes()
  file.write_bytes(data[: 3 * 28 + 8] + data[3 * 28 + 12 :])
  found, bad = records_of(folder, "skip")
  kept = [int(k) for k in found if int(k) % 4 == 1]
  assert kept[:3] == [1, 5, 9]
  assert all(found[str(k)] == VECTORS[k - 1].tolist() for k in (1, 5, 9))
  assert [k for k in kept if k > 13] == []
  assert [entry["file"] for entry in bad.found] == ["data.1"]
  assert "expected records of 28 bytes" in str(bad.found[0]["what"])


def test_a_missing_file_is_named(folder):
  (folder / "data.2").unlink()
  with pytest.raises(errors.InputError, match=r"data\.2 is missing"):
    xdl_records.Records(folder, 5)
  with pytest.raises(errors.InputError, match="found none"):
    xdl_records.Records(folder.parent, 5)


def test_names_that_are_our_own_get_others_in_a_schema(tmp_path):
  line = LINE.replace("user0@", "user@").replace("ad0@", "=/x@")
  (tmp_path / "s.txt").write_text(line + "\n")
  found = xdl_infer.infer(tmp_path / "s.txt")
  names = {field.column: field.name for field in found.feature}
  assert names["user"] == "user_id"
  assert names["=/x"] == "x"


def test_a_line_without_an_end_is_named(tmp_path, monkeypatch):
  monkeypatch.setattr(xdl, "LONGEST", 1000)
  (tmp_path / "s.txt").write_text(LINE + "\n" + "x" * 1000)
  with pytest.raises(errors.InputError, match=r"s\.txt, line 2: .* line break"):
    list(xdl.read(tmp_path / "s.txt", SCHEMA, source.Bad()))


def test_a_folder_in_place_of_records_is_named(folder):
  (folder / "data.0").unlink()
  (folder / "data.0").mkdir()
  with pytest.raises(errors.InputError, match=r"data\.0: expected a file"):
    records_of(folder)


def test_a_schema_that_cannot_be_is_named_by_file(tmp_path):
  line = LINE.replace("ad0@0.7;", "ad0@0.7;other_img@2;")
  (tmp_path / "s.txt").write_text(line + "\n")
  with pytest.raises(errors.InputError, match=r"s\.txt: expected at most one"):
    xdl_infer.infer(tmp_path / "s.txt")
