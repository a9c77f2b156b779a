"""Logs, item tables, titles, queries and publishers' files, made wrong."""

import gzip
import io
import pathlib
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dicm_jax import embed_queries
from dicm_jax.data import datasets, schema_file, source
from dicm_jax.data.preparation import spill
from dicm_jax.data.readers import infer, table, titles
from tests.data import datasets_test
from tests.data.readers import infer_test, log_table_test
from tests.faults.fuzz import judge

SCHEMA = log_table_test.SCHEMA
_ITEMS = schema_file.from_dict(
  {
    "log": {"label": "clicked", "user": "uid", "time": "at"},
    "split": {"test_days": 1},
    "items": {"key": "ad", "fields": ["tags", "price", "words", "picture"]},
    "feature": [
      {"name": "user_id", "column": "uid", "side": "user", "kind": "id"},
      {"name": "tags", "side": "ad", "kind": "ids", "weighted": True},
      {"name": "price", "side": "ad", "kind": "dense"},
      {"name": "words", "column": "title", "side": "ad", "kind": "text"},
      {"name": "picture", "side": "ad", "kind": "image"},
    ],
  }
)
_ISO = schema_file.from_dict(
  {
    "log": {
      "label": "clicked",
      "user": "uid",
      "time": "at",
      "time_unit": "iso",
      "positive_from": 1,
      "query": "title",
    },
    "split": {"test_days": 1},
    "feature": [{"name": "ad", "side": "ad", "kind": "id"}],
  }
)


def _examples(suffixes) -> dict[str, bytes]:
  with tempfile.TemporaryDirectory() as place:
    rows = log_table_test.ROWS * 3
    paths = [
      log_table_test.save(pathlib.Path(place) / f"log{suffix}", rows)
      for suffix in suffixes
    ]
    return {path.name: path.read_bytes() for path in paths}


def events(path: pathlib.Path) -> None:
  """Reads a log, and stops at what is wrong."""
  for block in table.read(path, SCHEMA, source.Bad()):
    block.validate(full=True)


def skipped(path: pathlib.Path) -> None:
  """Reads a log, and passes what is wrong over."""
  for wanted in (SCHEMA, _ISO):
    for block in table.read(path, wanted, source.Bad("skip")):
      block.validate(full=True)


def items(path: pathlib.Path) -> None:
  table.read_items(path, _ITEMS, source.Bad("skip")).validate(full=True)


def proposed(path: pathlib.Path) -> None:
  found, _ = infer.infer(path)
  schema_file.from_dict(schema_file.to_dict(found))


_READS = (events, skipped, items)


def _to_propose() -> dict[str, bytes]:
  with tempfile.TemporaryDirectory() as place:
    folder = pathlib.Path(place)
    for suffix in ("csv", "jsonl", "parquet"):
      infer_test.write(folder / f"log.{suffix}", infer_test.rows()[:60])
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def _unlike() -> dict[str, bytes]:
  """Logs with a column of each type that Arrow has and a log seldom."""
  good = pq.read_table(io.BytesIO(_examples([".parquet"])["log.parquet"]))
  count = len(good)
  ones = pa.array(np.arange(count))
  odd = {
    "null": pa.nulls(count),
    "decimal": ones.cast(pa.decimal128(38, 3)),
    "float16": pa.array(np.arange(count, dtype=np.float16)),
    "zone": ones.cast(pa.timestamp("us", "Mars/Olympus")),
    "far": pa.array([2**62] * count).cast(pa.timestamp("s")),
    "time": ones.cast(pa.int32()).cast(pa.time32("s")),
    "date": pa.array([2**31 - 1] * count, pa.int32()).cast(pa.date32()),
    "duration": ones.cast(pa.duration("s")),
    "bytes": pa.array([b"\xff\x00"] * count),
    "fixed": pa.array([b"\xff\x00"] * count, pa.binary(2)),
    "words": pa.array(["x"] * count).dictionary_encode(),
    "numbers": ones.dictionary_encode(),
    "lists": pa.array([[[1]]] * count),
    "list of nulls": pa.array([[None]] * count, pa.list_(pa.string())),
    "pairs": pa.array([[1, 2]] * count, pa.list_(pa.int64(), 2)),
    "bytes of lists": pa.array([[b"\xff"]] * count),
    "dates of lists": pa.array([[0]] * count, pa.list_(pa.date64())),
    "struct": pa.array([{"one": "a", "many": ["b"]}] * count),
    "map": pa.array([[("a", 1)]] * count, pa.map_(pa.string(), pa.int64())),
    "infinite": pa.array([float("inf")] * count),
    "truth": pa.array([True] * count),
    "uint64": pa.array([2**64 - 1] * count, pa.uint64()),
    "view": pa.array(["x"] * count).cast(pa.string_view()),
  }
  out = {}
  for kind, column in odd.items():
    for name in ("uid", "at", "clicked", "tags", "price", "title", "picture"):
      place = good.column_names.index(name)
      made = good.set_column(place, name, column)
      file = io.BytesIO()
      try:
        pq.write_table(made, file)
      except pa.ArrowException:
        continue
      out[f"{kind} {name}.parquet".replace(" ", "-")] = file.getvalue()
  return out


def _bombs() -> dict[str, bytes]:
  lines = b"".join(b'{"k%d": 1}\n' % i for i in range(70_000))
  return {
    "keys.jsonl": lines,
    "deep.jsonl": b'{"uid": ' + b"[" * 990 + b"]" * 990 + b"}\n",
    "wide.csv": b",".join(b"c%d" % i for i in range(200_000)) + b"\n",
    "zeros.csv.gz": gzip.compress(bytes(1 << 20)) * 512,
    "zeros.jsonl.gz": gzip.compress(bytes(1 << 20)) * 512,
  }


def read_titles(path: pathlib.Path) -> None:
  for policy in source.BAD_POLICIES:
    titles.read(path, source.Bad(policy))


def _titles() -> dict[str, bytes]:
  rows = {"key": ["a", "b", "c"], "title": ["Red dress", "", "鞋 shoe"]}
  file = io.BytesIO()
  pq.write_table(pa.table(rows | {"query": rows["title"]}), file)
  return {
    "titles.csv": "key,title\na,Red dress\nb,\nc,鞋 shoe\n".encode(),
    "titles.jsonl": b'{"key": "a", "title": "Red"}\n{"key": "b"}\n',
    "titles.parquet": file.getvalue(),
  }


def _queries() -> dict[str, bytes]:
  return {
    "queries.txt": "red dress\n\nshoes\n红色 鞋\n".encode(),
    "queries.csv": b"query,n\nred dress,1\nshoes,2\n",
    "queries.parquet": _titles()["titles.parquet"],
  }


def _published(name: str) -> judge.Target:
  """A publisher's files, as downloaded."""
  with tempfile.TemporaryDirectory() as place:
    folder = pathlib.Path(place)
    datasets_test.FIXTURES[name](folder)
    files = {
      str(p.relative_to(folder)): p.read_bytes()
      for p in sorted(folder.rglob("*"))
      if p.is_file()
    }

  def root(path: pathlib.Path) -> pathlib.Path:
    name = next(n for n in files if path.as_posix().endswith(f"/{n}"))
    return path.parents[name.count("/")]

  def read(path: pathlib.Path, policy: str = "stop") -> None:
    found = datasets.KNOWN[name](root(path), source.Bad(policy))
    for file in found.files:
      for block in found.read(file, found.schema, source.Bad(policy)):
        block.validate(full=True)

  return judge.Target(
    files=files,
    reads=(read, lambda path: read(path, "skip")),
    place=lambda path: str(root(path)),
  )


def targets() -> dict[str, judge.Target]:
  text = _examples([".csv", ".tsv", ".csv.gz"])
  lines = _examples([".jsonl", ".jsonl.gz"])
  bombs = _bombs()

  def of(suffixes: tuple[str, ...]) -> dict[str, bytes]:
    return {n: b for n, b in bombs.items() if n.endswith(suffixes)}

  return {
    "csv": judge.Target(files=text, reads=_READS, wrong=of((".csv", "csv.gz"))),
    "json": judge.Target(
      files=lines, reads=_READS, wrong=of((".jsonl", ".jsonl.gz"))
    ),
    "parquet": judge.Target(
      files=_examples([".parquet"]),
      reads=(*_READS, spill.estimated_size),
      wrong=_unlike(),
    ),
    "proposal": judge.Target(
      files=_to_propose(), reads=(proposed,), wrong=bombs
    ),
    "titles": judge.Target(files=_titles(), reads=(read_titles,)),
    "queries": judge.Target(files=_queries(), reads=(embed_queries.read,)),
    **{name: _published(name) for name in datasets.KNOWN},
  }
