"""Amazon Reviews 2023: ratings of products, with pictures by parent ASIN."""

import pathlib

from dicm_jax.data import schema, source
from dicm_jax.data.datasets import download
from dicm_jax.data.readers import table

WHERE = (
  "https://amazon-reviews-2023.github.io (of one category, CATEGORY.jsonl and "
  "meta_CATEGORY.jsonl, both also as .gz; for research). Pictures, named "
  "PARENT_ASIN.jpg, are fetched by the user from the links in the metadata"
)
NOTICE = (
  "Amazon Reviews 2023: a rating of 4 stars or more counts as a click, a lower "
  "one as an impression without; each user's last tenth is the test."
)

SCHEMA = schema.Schema(
  log=schema.Log(
    label="rating",
    user="user_id",
    time="timestamp",
    time_unit="ms",
    positive_from=4.0,
  ),
  items=schema.Items(
    key="parent_asin",
    fields=("product", "main_category", "store", "words", "picture"),
  ),
  feature=(
    schema.Field(name="reviewer", side="user", kind="id", column="user_id"),
    schema.Field(
      name="product", side="ad", kind="id", column="parent_asin", history=True
    ),
    schema.Field(name="main_category", side="ad", kind="id"),
    schema.Field(name="store", side="ad", kind="id", min_count=5),
    schema.Field(
      name="words", side="ad", kind="text", column="title", min_count=5
    ),
    schema.Field(
      name="picture",
      side="ad",
      kind="image",
      column="parent_asin",
      history=True,
    ),
  ),
  split=schema.Split(rule="user", test_share=0.1),
)


def events(samples: pathlib.Path, bad: source.Bad) -> source.Events:
  """Reads one category's reviews, with its metadata as the item table.

  Args:
    samples: the folder; of a folder with several categories, one's reviews.
    bad: is told of wrong lines of the metadata.

  Raises:
    InputError: a file is missing or not the only one; or a line of the metadata
      is wrong and `bad` says stop.
  """
  category = "*"
  if samples.is_file():
    category = samples.name.removeprefix("meta_").partition(".")[0]
    samples = samples.parent
  meta = download.find(samples, f"meta_{category}.jsonl*", WHERE)
  category = meta.name.removeprefix("meta_").partition(".")[0]
  reviews = download.find(samples, f"{category}.jsonl*", WHERE)
  return source.Events(
    schema=SCHEMA,
    files=(reviews,),
    read=table.read,
    items=table.read_items(meta, SCHEMA, bad),
    items_file=meta,
    notice=NOTICE,
  )
