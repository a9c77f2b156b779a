"""Tables of titles mean the same in every form; wrong lines are named."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dicm_jax import errors
from dicm_jax.data import source
from dicm_jax.data.readers import titles

ROWS = [
  {"key": "photos/p1.jpg", "title": "Long red dress, size 38"},
  {"key": "p2", "title": "\u7ea2\u8272dress"},
  {"key": "7", "title": None},
]
EXPECTED = {
  "key": ["p1", "p2", "7"],
  "title": ["Long red dress, size 38", "\u7ea2\u8272dress", ""],
}


def write_csv(path, rows):
  lines = [f'{r["key"]},"{r["title"] or ""}",9' for r in rows]
  path.write_text("\n".join(["key,title,price", *lines, ""]))


def write_json(path, rows):
  path.write_text("".join(json.dumps(r | {"price": 9}) + "\n" for r in rows))


def write_parquet(path, rows):
  pq.write_table(pa.Table.from_pylist(rows), path)


WRITE = {"csv": write_csv, "jsonl": write_json, "parquet": write_parquet}


def read(path, policy="stop"):
  bad = source.Bad(policy)
  return titles.read(path, bad).to_pydict(), bad


def refused(path) -> str:
  with pytest.raises(errors.InputError) as caught:
    read(path)
  message = str(caught.value)
  assert str(path) in message
  return message


@pytest.mark.parametrize("kind", WRITE)
def test_every_form_gives_the_same_titles(tmp_path, kind):
  path = tmp_path / f"titles.{kind}"
  WRITE[kind](path, ROWS)
  assert read(path)[0] == EXPECTED


@pytest.mark.parametrize("kind", WRITE)
def test_a_key_that_occurs_twice_is_named_with_both_lines(tmp_path, kind):
  path = tmp_path / f"titles.{kind}"
  WRITE[kind](path, [*ROWS, {"key": "p2.png", "title": "again"}])
  first = {"csv": 3, "jsonl": 2, "parquet": 2}[kind]  # A header is a line.
  message = refused(path)
  assert f"line {first + 2}: key 'p2': occurs twice" in message
  assert f"first in line {first}" in message
  found, bad = read(path, "skip")
  assert found == EXPECTED
  assert bad.count == 1


@pytest.mark.parametrize("kind", WRITE)
def test_a_title_without_a_key_is_named(tmp_path, kind):
  path = tmp_path / f"titles.{kind}"
  WRITE[kind](path, [{"key": "", "title": "of what?"}])
  line = 2 if kind == "csv" else 1
  assert f"line {line}: field 'key': expected one value" in refused(path)


@pytest.mark.parametrize("title", [["red", "dress"], 38])
def test_a_title_that_is_no_text_is_named(tmp_path, title):
  path = tmp_path / "titles.parquet"
  pq.write_table(pa.table({"key": ["p1"], "title": pa.array([title])}), path)
  message = refused(path)
  assert f"line 1: field 'title': expected text, found {title!r}" in message


def test_a_list_among_texts_is_named(tmp_path):
  path = tmp_path / "titles.jsonl"
  write_json(path, [ROWS[0], {"key": "p2", "title": ["red", "dress"]}])
  message = refused(path)
  assert "line 2: field 'title': expected text, found ['red', 'dress']" in (
    message
  )


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_missing_column_is_named(tmp_path, kind):
  path = tmp_path / f"titles.{kind}"
  WRITE[kind](path, [{"key": "p1", "titel": "red"}])
  assert "unknown column 'title'; did you mean 'titel'?" in refused(path)


def test_what_is_no_file_is_named(tmp_path):
  assert refused(tmp_path / "none.csv").startswith("--titles: ")
  assert refused(tmp_path).startswith("--titles: ")
