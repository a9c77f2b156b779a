"""H&M Personalized Fashion Recommendations: purchases and photographs."""

import pathlib

from dicm_jax.data import schema, source
from dicm_jax.data.datasets import download
from dicm_jax.data.readers import table

WHERE = (
  "https://www.kaggle.com/competitions/"
  "h-and-m-personalized-fashion-recommendations/data "
  "(transactions_train.csv, articles.csv, and the folder images)"
)
NOTICE = (
  "H&M: a purchase counts as a click; for each, 4 articles that the customer "
  "never bought are drawn by popularity as impressions without. The last 7 "
  "days are the test."
)

_ARTICLE = (
  "product_code",
  "product_type_no",
  "colour_group_code",
  "department_no",
  "garment_group_no",
)
"""Columns of articles.csv that become ids of the article."""

SCHEMA = schema.Schema(
  log=schema.Log(label="", user="customer_id", time="t_dat", time_unit="iso"),
  items=schema.Items(
    key="article_id", fields=("article", *_ARTICLE, "words", "photograph")
  ),
  feature=(
    schema.Field(name="customer", side="user", kind="id", column="customer_id"),
    schema.Field(
      name="article", side="ad", kind="id", column="article_id", history=True
    ),
    *(schema.Field(name=n, side="ad", kind="id") for n in _ARTICLE),
    schema.Field(
      name="words", side="ad", kind="text", column="prod_name", min_count=5
    ),
    schema.Field(
      name="photograph",
      side="ad",
      kind="image",
      column="article_id",
      history=True,
    ),
    schema.Field(
      name="channel", side="context", kind="id", column="sales_channel_id"
    ),
  ),
  split=schema.Split(rule="time", test_days=7.0),
  negatives=schema.Negatives(per_positive=4, sampling="popularity"),
)


def events(samples: pathlib.Path, bad: source.Bad) -> source.Events:
  """Reads transactions_train.csv, with articles.csv as the item table.

  Article numbers keep their leading zero: the photographs are named so.

  Raises:
    InputError: a file is missing; or a line of articles.csv is wrong and `bad`
      says stop.
  """
  purchases = download.find(samples, "transactions_train.csv", WHERE)
  articles = download.find(samples, "articles.csv", WHERE)
  return source.Events(
    schema=SCHEMA,
    files=(purchases,),
    read=table.read,
    items=table.read_items(articles, SCHEMA, bad),
    items_file=articles,
    notice=NOTICE,
  )
