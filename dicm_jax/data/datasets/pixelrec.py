"""PixelRec: images, their tags, and who interacted with them."""

import pathlib

from dicm_jax.data import schema, source
from dicm_jax.data.datasets import download
from dicm_jax.data.readers import table

WHERE = (
  "https://github.com/westlake-repl/PixelRec (Pixel*.csv, item_info.csv and "
  "the folder of covers; for research)"
)
NOTICE = (
  "PixelRec: an interaction counts as a click; for each, 4 images that the "
  "user never touched are drawn by popularity as impressions without. Each "
  "user's last tenth is the test."
)

SCHEMA = schema.Schema(
  log=schema.Log(label="label", user="user_id", time="timestamp"),
  items=schema.Items(key="item_id", fields=("picture_id", "tag", "picture")),
  feature=(
    schema.Field(name="viewer", side="user", kind="id", column="user_id"),
    schema.Field(
      name="picture_id", side="ad", kind="id", column="item_id", history=True
    ),
    schema.Field(name="tag", side="ad", kind="id"),
    schema.Field(
      name="picture", side="ad", kind="image", column="item_id", history=True
    ),
  ),
  split=schema.Split(rule="user", test_share=0.1),
  negatives=schema.Negatives(per_positive=4, sampling="popularity"),
)


def events(folder: pathlib.Path, bad: source.Bad) -> source.Events:
  """Reads the interactions, with item_info.csv as the item table.

  Raises:
    InputError: a file is missing or a line of item_info.csv is wrong.
  """
  interactions = download.find(folder, "Pixel*.csv", WHERE)
  info = download.find(folder, "item_info.csv", WHERE)
  raw = download.raw(info, ("item_id", "tag"))
  return source.Events(
    schema=SCHEMA,
    files=(interactions,),
    read=table.read_positives,
    items=download.items(raw, SCHEMA, bad, info),
    notice=NOTICE,
  )
