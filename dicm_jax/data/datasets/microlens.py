"""MicroLens: short videos, their covers, and who commented on them."""

import pathlib

import numpy as np

from dicm_jax.data import schema, source
from dicm_jax.data.datasets import download
from dicm_jax.data.readers import columns, table

WHERE = (
  "https://github.com/westlake-repl/MicroLens (MicroLens-*_pairs.csv and the "
  "folder of covers; for research)"
)
NOTICE = (
  "MicroLens: a comment counts as a click; for each, 4 videos that the user "
  "never commented on are drawn by popularity as impressions without. Each "
  "user's last tenth is the test."
)

SCHEMA = schema.Schema(
  log=schema.Log(label="", user="user", time="timestamp", time_unit="ms"),
  items=schema.Items(key="item", fields=("video", "cover")),
  feature=(
    schema.Field(name="user_id", side="user", kind="id", column="user"),
    schema.Field(
      name="video", side="ad", kind="id", column="item", history=True
    ),
    schema.Field(
      name="cover", side="ad", kind="image", column="item", history=True
    ),
  ),
  split=schema.Split(rule="user", test_share=0.1),
  negatives=schema.Negatives(per_positive=4, sampling="popularity"),
)


def events(samples: pathlib.Path, bad: source.Bad) -> source.Events:
  """Reads the pairs; every video that occurs is an item.

  Raises:
    InputError: the file is missing, or there are several.
  """
  pairs = download.find(samples, "*pairs.csv", WHERE)
  raw = download.distinct(pairs, "item")
  videos = columns.items(raw, np.arange(len(raw)), SCHEMA, bad, pairs)
  return source.Events(
    schema=SCHEMA,
    files=(pairs,),
    read=table.read,
    items=table.without_repeats(videos, pairs, bad),
    items_file=pairs,
    notice=NOTICE,
  )
