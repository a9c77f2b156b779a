"""A proposed schema reads the very file that it was made from."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dicm_jax import errors
from dicm_jax.data import schema, schema_file, source
from dicm_jax.data.readers import infer, table

DAY = 86_400


def rows(days=6):
  return [
    {
      "click": i % 3 // 2,
      "user": f"u{i % 7}",
      "timestamp": 1_700_000_000 + i * days * DAY // 70,
      "age_group": str(20 + i % 7),
      "item_id": 100 + i % 11,
      "genres": "a|b" if i % 2 else "c|d",
      "price": 1.5 + i % 5,
      "title": f"a long name {i % 11}",
      "image": f"shots/{i % 11}.jpg",
      "country": "de",
      "dwell_s": i % 4,
      "session_id": f"s{i // 2}",
    }
    for i in range(70)
  ]


def write(path, log):
  if path.suffix == ".parquet":
    pq.write_table(pa.Table.from_pylist(log), path)
  elif path.suffix == ".csv":
    lines = [",".join(log[0])]
    lines += [",".join(str(v) for v in row.values()) for row in log]
    path.write_text("\n".join(lines) + "\n")
  else:
    path.write_text("".join(json.dumps(row) + "\n" for row in log))
  return path


@pytest.mark.parametrize("name", ["l.csv", "l.jsonl", "l.parquet"])
def test_columns_find_their_part(tmp_path, name):
  found, reasons = infer.infer(write(tmp_path / name, rows()))
  log = found.log
  assert (log.label, log.user, log.time, log.time_unit) == (
    "click",
    "user",
    "timestamp",
    "s",
  )
  assert (log.group, log.dwell) == ("session_id", "dwell_s")
  assert {f.name: (f.side, f.kind, f.history) for f in found.feature} == {
    "user_id": ("user", "id", False),
    "age_group": ("user", "id", False),
    "item_id": ("ad", "id", True),
    "genres": ("ad", "ids", False),
    "price": ("ad", "dense", False),
    "title": ("ad", "text", False),
    "image": ("ad", "image", True),
    "image_id": ("ad", "id", True),
  }
  assert found.split == schema.Split(rule="time", test_days=1.0)
  assert any(r.startswith("country: left out") for r in reasons)


@pytest.mark.parametrize("name", ["l.csv", "l.jsonl", "l.parquet"])
def test_the_proposal_is_a_schema_file_that_reads_the_log(tmp_path, name):
  path = write(tmp_path / name, rows())
  found, _ = infer.infer(path)
  file = tmp_path / "schema.toml"
  file.write_text(schema_file.to_toml(found))
  again = schema_file.load(file)
  assert again == found
  events = pa.concat_tables(list(table.read(path, again, source.Bad())))
  assert len(events) == 70
  assert events["image"].to_pylist()[:2] == ["0", "1"]
  assert events["genres"].to_pylist()[:2] == [["c", "d"], ["a", "b"]]


def test_a_short_log_is_split_by_user(tmp_path):
  found, _ = infer.infer(write(tmp_path / "l.csv", rows(days=2)))
  assert found.split == schema.Split(rule="user", test_share=0.1)


@pytest.mark.parametrize(
  ("column", "what"),
  [("click", "label"), ("user", "user"), ("timestamp", "time")],
)
def test_what_cannot_be_found_is_named(tmp_path, column, what):
  log = [
    {("zz" if k == column else k): v for k, v in r.items()} for r in rows()
  ]
  with pytest.raises(
    errors.InputError, match=f"looks like the {what}.*Columns"
  ):
    infer.infer(write(tmp_path / "l.csv", log))


def test_an_empty_log_is_named(tmp_path):
  (tmp_path / "l.csv").write_text("a,b\n")
  with pytest.raises(errors.InputError, match="expected rows, found none"):
    infer.infer(tmp_path / "l.csv")


def inferred(tmp_path, **columns):
  """Kinds by name for the rows with further columns; and the schema loads."""
  log = [
    row | {name: of(i) for name, of in columns.items()}
    for i, row in enumerate(rows())
  ]
  found, _ = infer.infer(write(tmp_path / "l.csv", log))
  assert schema_file.from_dict(schema_file.to_dict(found)) == found
  return {f.name: f.kind for f in found.feature}, found


def test_names_that_would_clash_are_told_apart(tmp_path):
  found, _ = inferred(
    tmp_path, **{"image_id": lambda i: i % 9, "a b": str, "a_b": str}
  )
  assert {"image_id", "image_id_2", "a_b", "a_b_2"} <= set(found)


def test_numbers_about_a_picture_are_none(tmp_path):
  found, _ = inferred(tmp_path, img_width=lambda i: 100 + i % 3)
  assert (found["image"], found["img_width"]) == ("image", "id")
  found, _ = inferred(tmp_path, poster_key=lambda i: i % 5)
  assert (found["image"], found["poster_key"]) == ("image", "id")


def test_a_picture_and_behaviours_pictures_go_together(tmp_path):
  found, made = inferred(
    tmp_path, user_imgs=lambda i: f"i{i % 3}.png|i{i % 4}.png"
  )
  assert (found["image"], found["user_imgs"]) == ("image", "images")
  assert not made.field("image").history


def test_labels_may_be_written_as_fractions(tmp_path):
  log = [row | {"click": float(row["click"])} for row in rows()]
  assert infer.infer(write(tmp_path / "l.csv", log))[0].log.label == "click"
