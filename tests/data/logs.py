"""A small click log on disk, and plain readers of it, for tests."""

from collections.abc import Collection, Iterator
import io
import pathlib

import numpy as np
from PIL import Image
import pyarrow as pa
import pyarrow.parquet as pq

from dicm_jax.data import schema, schema_file, source
from dicm_jax.data.preparation import job as job_lib
from dicm_jax.data.preparation import learning, stages
from dicm_jax.data.preparation import manifest as manifest_lib

DAY = 86_400_000

SCHEMA = schema_file.from_dict(
  {
    "log": {"label": "click", "user": "user", "time": "time"},
    "split": {"rule": "time", "test_days": 1},
    "history": {"max_length": 4},
    "feature": [
      {"name": "user_id", "side": "user", "kind": "id"},
      {"name": "likes", "side": "user", "kind": "ids", "weighted": True},
      {"name": "ad_id", "side": "ad", "kind": "id", "history": True},
      {"name": "place", "side": "context", "kind": "id"},
      {"name": "tags", "side": "ad", "kind": "ids", "max_length": 2},
      {"name": "price", "side": "ad", "kind": "dense"},
      {"name": "picture", "side": "ad", "kind": "image", "history": True},
    ],
  }
)


def rows(seed: int = 0, *, users: int = 12, events: int = 300):
  """Events as dicts, in no order of time; several share user and time."""
  rng = np.random.default_rng(seed)
  likes = [
    [(f"l{k}", float(rng.random(dtype=np.float32))) for k in range(u % 3)]
    for u in range(users)
  ]
  out = []
  for _ in range(events):
    user, item = int(rng.integers(users)), int(rng.integers(20))
    out.append(
      {
        "label": float(rng.random() < 0.4),
        "user": f"u{user}",
        "user_id": f"u{user}",
        "time": int(rng.integers(40)) * DAY // 8,
        "likes": [name for name, _ in likes[user]],
        "likes.weight": [weight for _, weight in likes[user]],
        "ad_id": f"i{item}",
        "place": str(rng.integers(3)),
        "tags": [f"t{k}" for k in rng.integers(0, 5, rng.integers(0, 5))],
        "price": [float(rng.standard_normal(dtype=np.float32))],
        "picture": None if item == 7 else f"p{item}",
      }
    )
  return out


def write(
  folder: pathlib.Path, events: list[dict], *, files: int = 3
) -> tuple[pathlib.Path, ...]:
  """Writes events to Parquet files, one after the other."""
  folder.mkdir(parents=True, exist_ok=True)
  paths = []
  for number, part in enumerate(np.array_split(np.arange(len(events)), files)):
    path = folder / f"log-{number}.parquet"
    lines = [events[i] | {"line": k} for k, i in enumerate(part.tolist(), 1)]
    pq.write_table(pa.Table.from_pylist(lines), path)
    paths.append(path)
  return tuple(paths)


def read(path, wanted: schema.Schema, bad) -> Iterator[pa.Table]:
  """Blocks of 64 events."""
  del bad
  columns = schema.block_schema(wanted)
  for batch in pq.ParquetFile(path).iter_batches(64):
    yield pa.Table.from_batches([batch]).select(columns.names).cast(columns)


def local(task, count: int, stage: str) -> None:
  del stage
  for number in range(count):
    task(number)


class Pictures:
  """Pictures in memory."""

  def __init__(self, pictures: dict[str, bytes]):
    self.pictures = pictures

  def keys(self) -> Iterator[str]:
    return iter(sorted(self.pictures))

  def read(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    for key in self.keys():
      if key in wanted:
        yield key, self.pictures[key]


def pictures(keys) -> Pictures:
  """A plain picture for each key."""
  return Pictures({key: png(i) for i, key in enumerate(sorted(keys))})


def png(number: int) -> bytes:
  colour = tuple(np.random.default_rng(number).integers(0, 256, 3).tolist())
  buffer = io.BytesIO()
  Image.new("RGB", (20, 24), colour).save(buffer, format="PNG")
  return buffer.getvalue()


def job(
  folder: pathlib.Path,
  events: list[dict],
  wanted: schema.Schema = SCHEMA,
  *,
  files: int = 3,
  **options,
) -> job_lib.Job:
  paths = write(folder / "log", events, files=files)
  found = source.Events(schema=wanted, files=paths, read=read)
  return job_lib.Job(events=found, out=folder / "out", **options)


def prepare(made: job_lib.Job, given: Pictures | None = None) -> pathlib.Path:
  """Runs all stages; without pictures given, each key gets one."""

  def images():
    wanted = learning.wanted_pictures(made)
    return stages.store_pictures(made, given or pictures(wanted))

  stages.prepare(made, images, local)
  manifest_lib.finish(made, {"identity": "test"})
  return made.out
