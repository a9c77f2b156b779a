"""Public data sets in their publishers' layouts, from files to batches.

Each fixture is a few invented rows under the real headers, with what makes the
real files hard: leading zeros, quotes, blanks, compression.
"""

import dataclasses
import gzip
import json
import pathlib

import numpy as np
import pytest

from dicm_jax import errors
from dicm_jax.data import datasets, prepared, source
from dicm_jax.data.preparation import job as job_lib
from dicm_jax.data.preparation import learning, stages
from dicm_jax.data.preparation import manifest as manifest_lib
from tests.data import logs

SMALL = pathlib.Path(__file__).parents[2] / "../shared/data/ml-latest-small"


def movielens(folder):
  (folder / "ratings.csv").write_text(
    "userId,movieId,rating,timestamp\n"
    + "".join(
      f"{u},{m},{r},{t}\n"
      for u, m, r, t in [
        (1, 1, 4.0, 964982703),
        (1, 3, 3.5, 964981247),
        (1, 6, 5.0, 964982224),
        (2, 1, 0.5, 964982700),
        (2, 3, 4.5, 964982800),
        (3, 6, 1.0, 964982200),
        (3, 3, 5.0, 964982000),
        (3, 1, 4.0, 964982100),
      ]
    )
  )
  (folder / "movies.csv").write_text(
    "movieId,title,genres\n"
    "1,Toy Story (1995),Adventure|Animation\n"
    '3,"American President, The (1995)",Comedy\n'
    "6,Nothing,(no genres listed)\n"
  )
  (folder / "links.csv").write_text(
    "movieId,imdbId,tmdbId\n1,0114709,862\n3,0112346,9087\n6,0113277,\n"
  )


def hm(folder):
  (folder / "transactions_train.csv").write_text(
    "t_dat,customer_id,article_id,price,sales_channel_id\n"
    + "".join(
      f"2020-09-{day:02},{'ab'[day % 2] * 8},0{100 + day % 20},0.05,2\n"
      for day in range(1, 23)
    )
  )
  (folder / "articles.csv").write_text(
    "article_id,product_code,prod_name,product_type_no,product_type_name,"
    "colour_group_code,department_no,garment_group_no,detail_desc\n"
    + "".join(
      f'0{100 + i},{i // 2},"Strap, top {i}",253,Vest top,0{i % 3},16,10'
      f'{i % 2},"Jersey top, narrow"\n'
      for i in range(20)
    )
  )


def amazon(folder):
  reviews = [
    {
      "rating": float(1 + i % 5),
      "title": 'Such a "lovely" scent',
      "text": "one\ntwo",
      "images": [],
      "asin": f"B0{i % 6}V",
      "parent_asin": f"B0{i % 6}",
      "user_id": f"AG{i % 3}",
      "timestamp": 1588687728923 + i,
      "helpful_vote": 0,
      "verified_purchase": True,
    }
    for i in range(30)
  ]
  meta = [
    {
      "main_category": "All Beauty",
      "title": f"Yes to Tomatoes, mask {i}",
      "average_rating": 4.5,
      "price": None,
      "images": [{"large": "https://example.com/a.jpg"}],
      "store": None if i == 2 else "Yes To",
      "categories": [],
      "parent_asin": f"B0{i}",
    }
    for i in range(6)
  ]
  for name, lines in (("All_Beauty", reviews), ("meta_All_Beauty", meta)):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    data = gzip.compress(text.encode(), mtime=0)
    (folder / f"{name}.jsonl.gz").write_bytes(data)


def microlens(folder):
  (folder / "MicroLens-50k_pairs.csv").write_text(
    "user,item,timestamp\n"
    + "".join(f"{i % 4},{i % 9},{1583378629552 + i}\n" for i in range(24))
  )


def pixelrec(folder):
  (folder / "Pixel50K.csv").write_text(
    "item_id,user_id,timestamp\n"
    + "".join(f"v{i % 9},u{i % 4},{1600000000 + i}\n" for i in range(24))
  )
  (folder / "item_info.csv").write_text(
    "item_id,view_number,comment_number,thumbup_number,share_number,coin_number"
    ",favorite_number,barrage_number,title,tag,description\n"
    + "".join(f'v{i},1,2,3,4,5,6,7,"t, {i}",dance,""\n' for i in range(9))
  )


def criteo(folder):
  lines = []
  for i in range(70):
    counts = [str(i % 5 - 2 if n == 1 else i % 7) for n in range(13)]
    counts[3] = "" if i % 3 else "9"
    ids = [f"{(i * n) % 4:08x}" for n in range(26)]
    ids[5] = ""
    lines.append("\t".join([str(i % 4 // 3), *counts, *ids]))
  (folder / "train.txt").write_text("\n".join(lines) + "\n")


FIXTURES = {
  f.__name__: f for f in (movielens, hm, amazon, microlens, pixelrec, criteo)
}


def prepare(tmp_path, name):
  raw = tmp_path / "raw"
  raw.mkdir()
  FIXTURES[name](raw)
  events = datasets.KNOWN[name](raw, source.Bad())
  job = job_lib.Job(events=events, out=tmp_path / "out")
  has_images = events.schema.ad_image is not None

  def images():
    wanted = learning.wanted_pictures(job)
    return stages.store_pictures(job, logs.pictures(wanted))

  stages.prepare(job, images if has_images else None, logs.local)
  manifest_lib.finish(job, {})
  return events, prepared.load(job.out)


def test_every_known_data_set_has_a_fixture():
  assert set(datasets.KNOWN) == set(FIXTURES)


@pytest.mark.parametrize("name", FIXTURES)
def test_it_becomes_a_data_set_with_both_splits(tmp_path, name):
  events, data = prepare(tmp_path, name)
  assert data.notice == events.notice
  for log in (data.train, data.test):
    assert log.num_samples > 0
  assert 0 < data.train.label.mean() < 1
  lengths = data.train.behaviour_images.lengths
  assert lengths.sum() > 0 or name == "criteo"


@pytest.mark.parametrize("name", FIXTURES)
def test_missing_files_say_where_to_get_them(tmp_path, name):
  with pytest.raises(errors.InputError, match=r"Download it first: https://"):
    datasets.KNOWN[name](tmp_path, source.Bad())


def test_movielens_rows_are_ratings(tmp_path):
  _, data = prepare(tmp_path, "movielens")
  assert data.train.num_samples + data.test.num_samples == 8
  assert data.image_names == ("", "862", "9087")
  # User 1 rated 3 (3.5 stars), 6 (5 stars, no poster), then 1: the test.
  # User 2 rated 1 (half a star), then 3; user 3 rated 3, 1, then 6.
  test = data.test
  assert test.label.tolist() == [1.0, 1.0, 0.0]
  shown = [data.image_names[row] for row in test.ad_image.tolist()]
  assert shown == ["862", "9087", ""]
  assert test.user_ids["history_movie_id"].lengths.tolist() == [1, 0, 2]
  past = [
    data.image_names[row] for row in test.behaviour_images.values.tolist()
  ]
  assert past == ["9087", "862"]
  assert test.behaviour_images.lengths.tolist() == [0, 0, 2]


def test_hm_keeps_leading_zeros_and_draws_negatives(tmp_path):
  events, data = prepare(tmp_path, "hm")
  assert events.items is not None
  assert events.items["item"].to_pylist()[0] == "0100"
  assert events.items["words"].to_pylist()[0] == ["strap", "top", "0"]
  assert events.items["colour_group_code"].to_pylist()[2] == "02"
  for log in (data.train, data.test):
    assert log.label.sum() * 5 == log.num_samples
  assert data.test.label.sum() == 7  # One purchase a day, seven days.


def test_amazon_reads_both_files(tmp_path):
  events, data = prepare(tmp_path, "amazon")
  assert events.items is not None
  assert events.items["store"].to_pylist()[2] is None
  assert events.items["words"].to_pylist()[1][:3] == ["yes", "to", "tomatoes"]
  assert data.train.num_samples + data.test.num_samples == 30
  assert data.train.label.sum() + data.test.label.sum() == 12


def test_criteo_takes_logarithms_and_splits_by_line(tmp_path):
  _, data = prepare(tmp_path, "criteo")
  assert (data.train.num_samples, data.test.num_samples) == (60, 10)
  assert data.train.ad_dense is not None
  assert data.train.ad_dense.shape == (60, 13)
  i4 = data.train.ad_dense[:, 3]
  assert np.unique(i4).tolist() == [0.0]  # One value, or the mean.
  i2 = data.train.ad_dense[:, 1]
  assert len(np.unique(i2.round(4))) == 3  # -2, -1 and 0 are one.


@pytest.mark.parametrize("sampling", ["popularity", "uniform"])
def test_negatives_are_never_a_users_own(tmp_path, sampling):
  raw = tmp_path / "raw"
  raw.mkdir()
  microlens(raw)
  events = datasets.KNOWN["microlens"](raw, source.Bad())
  rule = dataclasses.replace(events.schema.negatives, sampling=sampling)
  schema = dataclasses.replace(events.schema, negatives=rule)
  events = dataclasses.replace(events, schema=schema)
  job = job_lib.Job(events=events, out=tmp_path / "out")

  def images():
    wanted = learning.wanted_pictures(job)
    return stages.store_pictures(job, logs.pictures(wanted))

  stages.prepare(job, images, logs.local)
  manifest_lib.finish(job, {})
  data = prepared.load(job.out)
  own: dict[int, set] = {}
  for log in (data.train, data.test):
    users = log.user_ids["user_id"].values[log.group]
    for user, image, label in zip(users, log.ad_image, log.label, strict=True):
      if label:
        own.setdefault(int(user), set()).add(int(image))
  negatives = 0
  for log in (data.train, data.test):
    users = log.user_ids["user_id"].values[log.group]
    for user, image, label in zip(users, log.ad_image, log.label, strict=True):
      if not label:
        negatives += 1
        assert int(image) not in own[int(user)]
  assert negatives == 4 * 24


@pytest.mark.skipif(not SMALL.exists(), reason="needs MovieLens beside us")
def test_the_real_movielens_reads_whole(tmp_path):
  events = datasets.KNOWN["movielens"](SMALL, source.Bad())
  assert events.items is not None
  assert len(events.items) == 9742
  blocks = list(events.read(events.files[0], events.schema, source.Bad()))
  assert sum(map(len, blocks)) == 100_836
