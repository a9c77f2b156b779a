"""Search queries from the log to Dataset.queries; item pages and anchors."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dicm_jax import errors
from dicm_jax.data import (
  click_log,
  pairs,
  prepared,
  schema,
  schema_file,
  source,
)
from dicm_jax.data.readers import table
from tests.data import logs

SEARCHED = dataclasses.replace(
  logs.SCHEMA, log=dataclasses.replace(logs.SCHEMA.log, query="q")
)
TEXTS = ("red dress", "Red dress", "shoes", None)


def searched(events) -> list[dict]:
  """The events with a query by user and time; the last days ask for boots."""
  last = max(e["time"] for e in events) - logs.DAY
  return [
    e
    | {
      "query": "boots"
      if e["time"] > last
      else TEXTS[(int(e["user"][1:]) + e["time"] // 7) % len(TEXTS)]
    }
    for e in events
  ]


def load(tmp_path, events, wanted=SEARCHED) -> click_log.Dataset:
  return prepared.load(logs.prepare(logs.job(tmp_path, events, wanted)))


def text_of(data: click_log.Dataset, log, group: int) -> str | None:
  place = log.query[group]
  return None if place == pairs.NONE else data.queries[place]


def test_each_page_view_has_the_query_that_the_log_says(tmp_path):
  events = searched(logs.rows())
  data = load(tmp_path, events)
  # Those of the test split stand in the list as well, each text once.
  assert data.queries == ("Red dress", "boots", "red dress", "shoes")
  said = {(e["user"], e["time"]): e["query"] for e in events}
  for split in ("train", "test"):
    log = getattr(data, split)
    keys = prepared.user_keys(tmp_path / "out", split)
    assert log.query.shape == (log.num_groups,)
    for group in range(log.num_groups):
      key = keys[log.user[group]], log.time[group]
      assert text_of(data, log, group) == said[key]


def test_first_line_of_a_page_view_says_its_query(tmp_path):
  events = searched(logs.rows())
  one = next(e for e in events if e["time"] == 0)
  events = [one | {"query": "first"}, *events, one | {"query": "last"}]
  data = load(tmp_path, events)
  keys = prepared.user_keys(tmp_path / "out", "train")
  (group,) = np.flatnonzero(
    (data.train.time == 0) & (data.train.user == keys.index(one["user"]))
  )
  assert text_of(data, data.train, group) == "first"
  assert "last" not in data.queries


def test_without_missing_queries_nothing_moves(tmp_path):
  events = [e | {"query": e["user"]} for e in logs.rows()]
  data = load(tmp_path, events)
  assert data.queries == tuple(sorted({e["user"] for e in events}))
  assert data.train.query.min() == data.test.query.min() == 0


def test_log_without_queries_has_none(tmp_path):
  data = load(tmp_path, logs.rows(), logs.SCHEMA)
  assert data.train.query is None and data.queries == ()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_blank_queries_are_none(tmp_path, suffix):
  wanted = schema_file.from_dict(
    {
      "log": {"label": "l", "user": "u", "time": "t", "query": "q"},
      "split": {"test_days": 1},
      "feature": [
        {"name": "u", "side": "user", "kind": "id"},
        {"name": "words", "column": "q", "side": "user", "kind": "text"},
      ],
    }
  )
  texts = [" red  dress ", "", "   ", "7"]
  if suffix == "csv":
    lines = [f'1,u,{i},"{text}"' for i, text in enumerate(texts)]
    path = tmp_path / "log.csv"
    path.write_text("\n".join(["l,u,t,q", *lines]) + "\n")
  else:
    path = tmp_path / "log.parquet"
    columns = {"l": [1] * 4, "u": ["u"] * 4, "t": range(4), "q": texts}
    pq.write_table(pa.table({k: pa.array(v) for k, v in columns.items()}), path)
  (block,) = table.read(path, wanted, source.Bad())
  assert block["query"].to_pylist() == ["red  dress", None, None, "7"]
  assert block["words"].to_pylist()[0] == ["red", "dress"]


def test_feature_of_that_name_is_refused():
  extra = schema.Field(name="query", side="user", kind="text")
  with pytest.raises(errors.InputError, match=r"\[log\] query makes a column"):
    dataclasses.replace(SEARCHED, feature=(*SEARCHED.feature, extra))


def main_at(time: int) -> str:
  return f"p{time // (logs.DAY // 8) % 5}"


def test_main_item_of_a_page_is_its_anchor(tmp_path):
  """The log lists one behaviour image a page view: the item page's own."""
  main = schema.Field(name="main", side="user", kind="images")
  picture = dataclasses.replace(logs.SCHEMA.field("picture"), history=False)
  rest = [f for f in logs.SCHEMA.feature if f.name != "picture"]
  wanted = dataclasses.replace(logs.SCHEMA, feature=(*rest, picture, main))
  events = [e | {"main": [main_at(e["time"])]} for e in logs.rows()]
  log = (data := load(tmp_path, events, wanted)).train
  found = pairs.last_clicks(log)
  names = [data.image_names[row] for row in found.of_group]
  assert names == [main_at(time) for time in log.time]
  assert len(set(names)) == 5
  clicks = pairs.find(log, click_log.with_picture(data, log), found)
  assert clicks.anchor.tolist() == [
    found.of_group[log.group[sample]] for sample in clicks.sample
  ]
