"""The sample as a log on disk: what `prepare` is measured on."""

import json
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from dicm_jax import prepare as prepare_lib
from dicm_jax.data import click_log, sample

SCHEMA = """
[log]
label = "label"
user = "user"
time = "time"

[split]
rule = "column"
column = "split"

[history]
max_length = 50

[[feature]]
name = "user_id"
column = "user"
side = "user"
kind = "id"

[[feature]]
name = "ad_image_id"
column = "image"
side = "ad"
kind = "id"
history = true

[[feature]]
name = "position"
side = "context"
kind = "id"

[[feature]]
name = "image"
side = "ad"
kind = "image"
history = true
"""


def write(
  folder: pathlib.Path, *, copies: int = 1, suffix: str = "parquet"
) -> pathlib.Path:
  """Writes a log, schema.toml and the folder images.

  Args:
    folder: made if missing.
    copies: how often the log is written, each time with users of its own.
    suffix: parquet, csv or jsonl.

  Returns:
    The file of the log.
  """
  world = sample.generate(seed=0)
  data, truth = world.dataset, world.truth
  pictures = folder / "images"
  pictures.mkdir(parents=True)
  for name, picture in zip(data.image_names, data.image_bytes, strict=True):
    (pictures / name).write_bytes(picture)
  (folder / "schema.toml").write_text(SCHEMA)
  parts = [
    _rows(data, data.train, truth.train_day, "train"),
    _rows(data, data.test, truth.test_day, "test"),
  ]
  table = pa.concat_tables(parts)
  path = folder / f"log.{suffix}"
  with WRITERS[suffix](path, table.schema) as out:
    for copy in range(copies):
      users = pa.array([f"{copy}-{u}" for u in table["user"].to_pylist()])
      out.write_table(table.set_column(1, "user", users))
  return path


class _JsonLines:
  """Writes tables as JSON lines, in the manner of pyarrow's writers."""

  def __init__(self, path: pathlib.Path, schema: pa.Schema):
    del schema
    self._path = path

  def __enter__(self):
    self._file = self._path.open("w")
    return self

  def __exit__(self, *error) -> None:
    self._file.close()

  def write_table(self, table: pa.Table) -> None:
    lines = (json.dumps(line) + "\n" for line in table.to_pylist())
    self._file.writelines(lines)


WRITERS = {
  "parquet": pq.ParquetWriter,
  "csv": pyarrow.csv.CSVWriter,
  "jsonl": _JsonLines,
}


def _rows(data: click_log.Dataset, log: click_log.ClickLog, day, split: str):
  """One split's impressions as lines; a page view has a second of its own."""
  view = np.arange(log.num_groups)
  time = day * 86_400 + view % 86_400
  return pa.table(
    {
      "label": log.label,
      "user": pa.array(log.user[log.group]).cast(pa.string()),
      "time": time[log.group],
      "image": [data.image_names[row] for row in log.ad_image.tolist()],
      "position": log.ad_ids["position"],
      "split": [split] * log.num_samples,
    }
  )


def prepare(folder: pathlib.Path, *, copies: int = 1) -> pathlib.Path:
  """Writes the log, prepares it, and returns the data set's folder."""
  log = write(folder / "raw", copies=copies)
  prepare_lib.prepare(options(log, folder / "prepared"))
  return folder / "prepared"


def options(log: pathlib.Path, out: pathlib.Path) -> prepare_lib.Options:
  """Options to prepare what `write` wrote."""
  return prepare_lib.Options(
    format="table",
    samples=log,
    images=log.parent / "images",
    schema=log.parent / "schema.toml",
    out=out,
  )
