"""PixelRec: images, their tags, and who interacted with them."""

import pathlib

from dicm_jax.data import schema, source
from dicm_jax.data.datasets import download
from dicm_jax.data.readers import delimited, table

WHERE = (
  "https://github.com/westlake-repl/PixelRec (Pixel*.csv; item_info.csv for "
  "50K, for the larger ones the items' information, of the same name as the "
  "interactions, in a folder of its own; and the covers; for research)"
)
NOTICE = (
  "PixelRec: an interaction counts as a click; for each, 4 images that the "
  "user never touched are drawn by popularity as impressions without. Each "
  "user's last tenth is the test."
)

_INFO = "item_info.csv"

SCHEMA = schema.Schema(
  log=schema.Log(label="", user="user_id", time="timestamp"),
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


def events(samples: pathlib.Path, bad: source.Bad) -> source.Events:
  """Reads the interactions, with the items' information as the item table.

  Args:
    samples: a folder with both files, or with a folder for each; or, of
      several, the file of the interactions.
    bad: is told of wrong lines of the information.

  Raises:
    InputError: a file is missing or not the only one; or a line of the
      information is wrong and `bad` says stop.
  """
  folder = samples.parent if samples.is_file() else samples
  found = {p: delimited.header(p) for p in _tables(samples)}
  logs = [p for p, names in found.items() if "user_id" in names]
  if samples in logs:
    logs = [samples]
  log = download.one_of(logs, folder, "Pixel*.csv with a column user_id", WHERE)
  about = [
    p
    for p, names in found.items()
    if "tag" in names and p.name in (log.name, _INFO)
  ]
  what = f"{_INFO} or {log.name} with a column tag"
  info = download.one_of(about, folder, what, WHERE)
  return source.Events(
    schema=SCHEMA,
    files=(log,),
    read=table.read,
    items=table.read_items(info, SCHEMA, bad),
    items_file=info,
    notice=NOTICE,
  )


def _tables(samples: pathlib.Path) -> list[pathlib.Path]:
  """What may be interactions or information: they may share their name."""
  if samples.is_file():
    near = [*samples.parent.glob("*.csv")]
    near += samples.parent.parent.glob(f"*/{samples.name}")
  else:
    near = [*samples.glob("*.csv"), *samples.glob("*/*.csv")]
  known = {p for p in near if p.match("Pixel*.csv") or p.name == _INFO}
  return sorted(known)
