"""Queries from a file as vectors in the items' space, as one table."""

from collections.abc import Iterator
import pathlib

from dicm_jax import errors, query_encoder
from dicm_jax.data import source, vectors
from dicm_jax.data.readers import columns, table, values

COLUMN = "query"
"""Of a file with columns."""


def embed(encoder: pathlib.Path, queries: pathlib.Path, out: pathlib.Path):
  """Writes the table of embeddings by the queries' texts, see `data.vectors`.

  Args:
    encoder: folder of a run of configs/pairwise.py with queries as anchors.
    queries: see `read`.
    out: the file to write.

  Raises:
    InputError: no such encoder or file, there are no queries, or one has no
      word.
  """
  texts = read(queries)
  query_encoder.check_words(texts, str(queries))
  made = query_encoder.table(query_encoder.load(encoder), texts)
  vectors.write(out, made)


def read(path: pathlib.Path) -> list[str]:
  """The distinct queries of a file, in their order, blank ones left out.

  Args:
    path: .txt, one query a line; or CSV, JSON lines or Parquet with a column
      `query`.

  Raises:
    InputError: the file cannot be read, or there are none in it.
  """
  lines = _lines(path) if path.suffix == ".txt" else _column(path)
  found = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
  if not found:
    raise errors.InputError(f"{path}: expected queries, found none")
  return found


def _lines(path: pathlib.Path) -> list[str]:
  try:
    return path.read_text(encoding="utf-8").splitlines()
  except (OSError, UnicodeDecodeError) as e:
    raise errors.InputError(f"{path}: cannot be read: {e}") from e


def _column(path: pathlib.Path) -> Iterator[str]:
  for _, block in table.raw_blocks(path, (COLUMN,), source.Bad()):
    column = block[COLUMN].combine_chunks()
    with columns.converting(path, COLUMN, column.type):
      text = values.as_text(values.parts(column)[0])
    yield from text.drop_null().to_pylist()
