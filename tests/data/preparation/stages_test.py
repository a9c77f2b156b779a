"""Prepared data against a plain reading of the same log, event by event."""

import collections
import dataclasses
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dicm_jax import errors
from dicm_jax.data import prepared, schema, shard_columns
from dicm_jax.data.preparation import encode, grouping, job, spill, stages
from tests.data import logs

EVENTS = logs.rows()
NEWEST = max(e["time"] for e in EVENTS)
CUTOFF = NEWEST - logs.DAY


def in_test(event) -> bool:
  return event["time"] > CUTOFF


def vocabulary(values) -> dict[str, int]:
  """Row of each value: by falling count, ties in order of the values."""
  counts = collections.Counter(values)
  order = sorted(counts, key=lambda v: (-counts[v], v))
  return {value: row for row, value in enumerate(order, start=1)}


TRAINING = [e for e in EVENTS if not in_test(e)]
ROWS = {
  name: vocabulary(e[name] for e in TRAINING)
  for name in ("user_id", "ad_id", "place")
} | {
  name: vocabulary(v for e in TRAINING for v in e[name])
  for name in ("likes", "tags")
}
IMAGES = {
  key: row
  for row, key in enumerate(
    sorted({e["picture"] for e in EVENTS if e["picture"]}), start=1
  )
}


def past(event, value) -> list:
  """What the user clicked strictly before, oldest first, the last four."""
  clicks = [
    e
    for e in EVENTS
    if e["user"] == event["user"]
    and e["label"] == 1
    and e["time"] < event["time"]
  ]
  return [value(e) for e in sorted(clicks, key=lambda e: e["time"])][-4:]


def expected(event, scale) -> dict:
  def row(name, value):
    return ROWS[name].get(value, 0)

  return {
    "label": event["label"],
    "user": [row("user_id", event["user"])],
    "time": event["time"],
    "likes": [row("likes", v) for v in event["likes"]],
    "weights": event["likes.weight"],
    "history_ad_id": past(event, lambda e: row("ad_id", e["ad_id"])),
    "ad_id": row("ad_id", event["ad_id"]),
    "place": row("place", event["place"]),
    "tags": [row("tags", v) for v in event["tags"][-2:]],
    "price": pytest.approx(
      (event["price"][0] - scale[0]) / scale[1], rel=1e-5, abs=1e-6
    ),
    "picture": IMAGES.get(event["picture"], 0),
    "behaviours": [
      IMAGES[p] for p in past(event, lambda e: e["picture"]) if p is not None
    ],
  }


def found(log, i: int) -> dict:
  group = log.group[i]

  def of(lists, k):
    return lists.values[lists.offsets[k] : lists.offsets[k + 1]].tolist()

  likes = log.user_ids["likes"]
  span = slice(likes.offsets[group], likes.offsets[group + 1])
  return {
    "label": log.label[i],
    "user": of(log.user_ids["user_id"], group),
    "time": log.time[group],
    "likes": of(likes, group),
    "weights": likes.weights[span].tolist(),
    "history_ad_id": of(log.user_ids["history_ad_id"], group),
    "ad_id": log.ad_ids["ad_id"][i],
    "place": log.ad_ids["place"][i],
    "tags": of(log.ad_lists["tags"], i),
    "price": log.ad_dense[i, 0],
    "picture": log.ad_image[i],
    "behaviours": of(log.behaviour_images, group),
  }


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  return prepared.load(
    logs.prepare(logs.job(tmp_path_factory.mktemp("prepared"), EVENTS))
  )


def by_user_and_time(events):
  """In the order of the shards: one partition, users in order."""
  numbered = sorted(
    enumerate(events), key=lambda e: (e[1]["user"], e[1]["time"], e[0])
  )
  return [event for _, event in numbered]


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_sample_says_what_its_event_said(data, split):
  log = getattr(data, split)
  events = [e for e in EVENTS if in_test(e) == (split == "test")]
  prices = [e["price"][0] for e in TRAINING]
  scale = np.mean(prices), np.std(prices)
  assert log.num_samples == len(events)
  for i, event in enumerate(by_user_and_time(events)):
    # Clicks of one moment have no order of their own in the plain reading.
    assert found(log, i) == expected(event, scale)


def test_a_group_is_one_user_at_one_time(data):
  keys = {(e["user"], e["time"]) for e in EVENTS}
  assert data.train.num_groups + data.test.num_groups == len(keys)
  assert len(np.unique(data.train.user)) == 12


def test_features_are_those_of_the_schema_and_of_the_history(data):
  assert {f.name: (f.side, f.lists) for f in data.features} == {
    "user_id": ("user", True),
    "likes": ("user", True),
    "ad_id": ("ad", False),
    "place": ("ad", False),
    "tags": ("ad", True),
    "history_ad_id": ("user", True),
  }
  assert {f.name: f.rows for f in data.features}["ad_id"] == len(
    ROWS["ad_id"]
  ) + 1


def test_ads_without_a_picture_have_a_row_of_their_own(data):
  assert data.no_image is not None
  assert data.image_names[data.no_image] == ""
  missing = sum(not e["picture"] for e in TRAINING)
  assert (data.train.ad_image == data.no_image).sum() == missing > 0


def test_pictures_lie_in_the_rows_that_samples_name(data):
  source = logs.pictures(IMAGES).pictures
  for key, row in IMAGES.items():
    assert data.image_names[row] == key
    assert data.image_bytes[row] == source[key]


def test_a_click_of_the_future_cannot_be_seen(tmp_path):
  """A planted later click changes no earlier page view's history."""
  before = [e | {"label": 0.0} for e in EVENTS]
  planted = {e["user"]: max(x["time"] for x in EVENTS) + 1 for e in EVENTS}
  clicks = [
    next(e for e in EVENTS if e["user"] == user)
    | {"label": 1.0, "time": time, "ad_id": "planted", "picture": "planted"}
    for user, time in planted.items()
  ]
  made = prepared.load(logs.prepare(logs.job(tmp_path, before + clicks)))
  for log in (made.train, made.test):
    assert log.behaviour_images.lengths.sum() == 0
    assert log.user_ids["history_ad_id"].lengths.sum() == 0


def test_result_does_not_depend_on_the_cut_into_files(tmp_path):
  outs = []
  for files in (1, 5):
    folder = tmp_path / str(files)
    made = logs.job(folder, EVENTS)
    events = dataclasses.replace(
      made.events, files=logs.write(folder / "again", EVENTS, files=files)
    )
    outs.append(logs.prepare(dataclasses.replace(made, events=events)))
  one, five = (
    {p.relative_to(o): p.read_bytes() for p in o.rglob("*.parquet")}
    for o in outs
  )
  assert one == five
  assert len(one) == 8


def split_by(**values):
  return dataclasses.replace(logs.SCHEMA, split=schema.Split(**values))


def test_split_by_user_tests_each_users_last_page_views(tmp_path):
  wanted = split_by(rule="user", test_share=0.2)
  data = prepared.load(logs.prepare(logs.job(tmp_path, EVENTS, wanted)))
  views = collections.Counter(
    user for user, _ in {(e["user"], e["time"]) for e in EVENTS}
  )
  tested = np.bincount(data.test.user).tolist()
  assert tested == [int(np.ceil(0.2 * views[u])) for u in sorted(views)]


def test_window_and_dwell_time_filter_histories(tmp_path):
  events = [e | {"dwell": float(i % 20)} for i, e in enumerate(EVENTS)]
  wanted = dataclasses.replace(
    logs.SCHEMA,
    log=dataclasses.replace(logs.SCHEMA.log, dwell="dwell"),
    history=schema.History(max_length=50, window_days=1.0, min_dwell=10.0),
  )
  data = prepared.load(logs.prepare(logs.job(tmp_path, events, wanted)))
  lengths = {}
  for event in events:
    clicks = [
      e
      for e in events
      if e["user"] == event["user"]
      and e["label"] == 1
      and e["dwell"] >= 10
      and event["time"] - logs.DAY <= e["time"] < event["time"]
    ]
    lengths[event["user"], event["time"]] = len(clicks)
  found = sum(
    log.user_ids["history_ad_id"].lengths.sum()
    for log in (data.train, data.test)
  )
  assert found == sum(lengths.values()) > 0


def test_an_empty_split_is_named(tmp_path):
  wanted = split_by(rule="time", test_from="2100-01-01")
  with pytest.raises(errors.InputError, match="test split is empty"):
    logs.prepare(logs.job(tmp_path, EVENTS, wanted))


def test_missing_and_damaged_pictures_stop_or_are_listed(tmp_path):
  given = logs.pictures(IMAGES)
  del given.pictures["p3"]
  with pytest.raises(errors.InputError, match=r"'p3'; 1 of \d+ keys"):
    logs.prepare(logs.job(tmp_path / "a", EVENTS), given)
  given.pictures["p4"] = given.pictures["p4"][:40]
  out = logs.prepare(logs.job(tmp_path / "b", EVENTS, on_bad="skip"), given)
  bad = prepared.read_manifest(out)["bad"]
  first = next(i for i, e in enumerate(EVENTS) if e["picture"] == "p3")
  assert first < len(EVENTS) // 3  # In the first file, lines from 1.
  assert [(e["file"], e["line"]) for e in bad["first"]] == [
    ("log-0.parquet", first + 1),
    ("p4", "picture"),
  ]
  assert bad["count"] == 2
  data = prepared.load(out)
  assert set(data.image_names) == {"", *IMAGES} - {"p3", "p4"}


def test_a_damaged_data_set_is_named(tmp_path):
  out = logs.prepare(logs.job(tmp_path, EVENTS))
  shard = out / "train" / "part-00000.parquet"
  shard.write_bytes(shard.read_bytes()[:-10])
  with pytest.raises(
    errors.InputError, match=r"part-00000.*expected \d+ bytes"
  ):
    prepared.load(out)
  (out / "manifest.json").unlink()
  with pytest.raises(errors.InputError, match=r"holds no manifest\.json"):
    prepared.load(out)


def contents(out) -> dict[str, bytes]:
  return {
    p.relative_to(out).as_posix(): p.read_bytes()
    for p in out.rglob("*")
    if p.is_file()
  }


def test_lines_made_some_at_a_time_are_the_same_lines(tmp_path, monkeypatch):
  whole = logs.prepare(logs.job(tmp_path / "a", EVENTS))
  monkeypatch.setattr(encode, "HISTORY_ENTRIES", 28)  # 7 groups.
  pieces = logs.prepare(logs.job(tmp_path / "b", EVENTS))
  for split in ("train", "test"):
    name = f"{split}/part-00000.parquet"
    assert pq.read_table(pieces / name) == pq.read_table(whole / name)
  assert pq.ParquetFile(pieces / name).metadata.num_row_groups > 1
  one, other = map(prepared.read_manifest, (whole, pieces))
  assert one["left_out"] == other["left_out"]
  assert one["splits"] == other["splits"]
  np.testing.assert_allclose(  # Sums in another order.
    one["dense"]["price"]["mean"], other["dense"]["price"]["mean"], rtol=1e-12
  )


def test_how_the_log_is_cut_into_tasks_changes_nothing(tmp_path, monkeypatch):
  whole = logs.prepare(logs.job(tmp_path / "a", EVENTS))
  monkeypatch.setattr(spill, "CHUNK_BYTES", 4000)
  cut = logs.prepare(logs.job(tmp_path / "b", EVENTS))
  assert contents(cut) == contents(whole)


def test_small_files_are_read_together_and_looked_at_once(
  tmp_path, monkeypatch
):
  looked = []
  size = spill.estimated_size
  monkeypatch.setattr(
    spill, "estimated_size", lambda path: looked.append(path) or size(path)
  )
  made = logs.job(tmp_path, EVENTS, files=30)

  def elsewhere(task, count, stage):
    del stage
    for number in range(count):
      pickle.loads(pickle.dumps(task))(number)

  stages.prepare(made, None, elsewhere)
  assert [list(files) for files in made.readings] == [list(range(30))]
  assert sorted(looked) == sorted(made.events.files)


def test_workers_read_the_item_table_from_the_working_folder(tmp_path):
  made = logs.job(tmp_path, EVENTS)
  items = pa.table({"item": [f"item {i}" for i in range(10_000)]})
  made = dataclasses.replace(
    made, events=dataclasses.replace(made.events, items=items)
  )
  made.keep_items()
  data = pickle.dumps(made)
  assert len(data) < 10_000
  copy = pickle.loads(data)
  assert copy.events.items is None
  assert copy.items == items
  assert copy == made
  assert dataclasses.replace(made, out=tmp_path / "b") != made


def test_a_user_of_too_many_events_is_named(tmp_path, monkeypatch):
  monkeypatch.setattr(grouping, "MAX_USER_EVENTS", 40)
  many = EVENTS + [EVENTS[0] | {"user": "0"}] * 41
  with pytest.raises(errors.InputError, match=r"user '0': .* found 41"):
    logs.prepare(logs.job(tmp_path, many))
  monkeypatch.setattr(grouping, "MAX_USER_EVENTS", 41)
  logs.prepare(logs.job(tmp_path / "b", many))


def test_offsets_pass_32_bits_only_where_they_must():
  small = shard_columns.offsets_of([np.array([2, 1], np.int32), np.array([4])])
  assert small.dtype == np.int32
  assert small.tolist() == [0, 2, 3, 7]
  # 43 million page views with 50 clicks each are as many.
  large = shard_columns.offsets_of([np.full(1, 2**30, np.int32)] * 3)
  assert large.dtype == np.int64
  assert large.tolist() == [0, 2**30, 2**31, 3 * 2**30]


def test_a_split_in_many_parts_is_read_as_in_one(tmp_path, monkeypatch, data):
  monkeypatch.setattr(job, "PARTITION_EVENTS", 40)
  parts = prepared.load(logs.prepare(logs.job(tmp_path, EVENTS)))
  assert len(list((tmp_path / "out" / "train").iterdir())) > 5
  for log, whole in ((parts.train, data.train), (parts.test, data.test)):
    assert len(np.unique(log.user)) == len(np.unique(whole.user))
    assert log.user.max() == whole.user.max()

    def said(log):
      found_ = [found(log, i) for i in range(log.num_samples)]
      return sorted(found_, key=str)

    for one, other in zip(said(log), said(whole), strict=True):
      price = one.pop("price"), other.pop("price")
      assert one == other
      assert price[0] == pytest.approx(price[1], rel=1e-5, abs=1e-6)
