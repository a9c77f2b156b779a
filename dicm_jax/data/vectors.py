"""A table of vectors by key: what retrieval searches, and searches with.

One Parquet file with the columns `key`, string, and `vector`, a fixed-size list
of float32; the file's metadata name the encoder and its digest, and of queries
what they are compared with and how. pyarrow is enough to read and write it. The
folder features/ENCODER of a prepared data set is read as such a table too.
"""

from collections.abc import Iterable, Sequence
import dataclasses
import pathlib

from jaxtyping import Float
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dicm_jax import errors
from dicm_jax.data import feature_files, files, quantise
from dicm_jax.data.readers import values as raw_values

KEY, VECTOR = "key", "vector"
_SAID = ("encoder", "digest", "similarity", "items")
"""Entries of the file's metadata."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Vectors:
  """R vectors of D numbers, each with a key of its own."""

  keys: tuple[str, ...]
  values: Float[np.ndarray, "R D"]
  """float32, finite."""
  encoder: str = ""
  """Name of what made them; empty: unknown."""
  digest: str = ""
  """Of all that decides them; empty: unknown."""
  similarity: str = ""
  """By which they are compared with items, inner or cosine; empty: any."""
  items: str = ""
  """Digest of the items' vectors that they are compared with; empty: any."""


def write(path: pathlib.Path, vectors: Vectors) -> None:
  """Writes a table, all of it or nothing.

  Raises:
    InputError: there are no vectors, one is not finite, a key occurs twice, or
      the file cannot be written.
  """
  _check_width(path, vectors.values)
  _check_finite(path, vectors.values)
  _check_distinct([(path, vectors.keys)])
  flat = pa.array(np.ascontiguousarray(vectors.values, np.float32).reshape(-1))
  width = vectors.values.shape[1]
  table = pa.table(
    {
      KEY: pa.array(vectors.keys, pa.string()),
      VECTOR: pa.FixedSizeListArray.from_arrays(flat, width),
    }
  ).replace_schema_metadata(
    {name: said for name in _SAID if (said := getattr(vectors, name))}
  )
  try:
    files.write_parquet(path, table)
  except OSError as e:
    raise errors.InputError(f"{path}: cannot be written: {e.strerror}") from e


def read(path: pathlib.Path) -> Vectors:
  """Reads a table, or the vectors of a folder features/ENCODER.

  Numbers of another floating-point type become float32. Of a folder, the row
  without a key, which stands for "no picture", is left out.

  Raises:
    InputError: there is no such file, or no encoder.json in the folder; a
      column is missing or of another type; a vector is null, of another length
      than the first or not finite; or a key is null or occurs twice.
  """
  if path.is_dir():
    return _read_folder(path)
  table = _open(path)
  _check_columns(path, table, VECTOR)
  keys, values = _keys(path, table), _numbers(path, table, VECTOR)
  _check_distinct([(path, keys)])
  said = table.schema.metadata or {}
  return Vectors(
    keys=tuple(keys),
    values=values,
    **{
      name: said.get(name.encode(), b"").decode(errors="replace")
      for name in _SAID
    },
  )


def _read_folder(folder: pathlib.Path) -> Vectors:
  encoder = feature_files.read_encoder(folder / feature_files.META)
  paths = sorted(folder.glob("part-*.parquet"))
  if not paths:
    raise errors.InputError(f"{folder}: expected part-*.parquet, found none")
  parts = [_read_part(path, encoder.width) for path in paths]
  named = [np.array([key != "" for key in keys]) for keys, _ in parts]
  _check_distinct(
    (path, keys) for path, (keys, _) in zip(paths, parts, strict=True)
  )
  return Vectors(
    keys=tuple(key for keys, _ in parts for key in keys if key),
    values=np.concatenate(
      [v[keep] for (_, v), keep in zip(parts, named, strict=True)]
    ),
    encoder=encoder.name,
    digest=encoder.digest,
  )


def _read_part(
  path: pathlib.Path, width: int
) -> tuple[list[str], Float[np.ndarray, "n D"]]:
  table = _open(path)
  _check_columns(path, table, "features")
  values = _numbers(path, table, "features")
  if values.shape[1] != width:
    raise errors.InputError(
      f"{path}: expected {width} numbers a row, as {feature_files.META} says; "
      f"found {values.shape[1]}"
    )
  return _keys(path, table), values


def _open(path: pathlib.Path) -> pa.Table:
  try:
    table = pq.read_table(path)
    _ = table.column_names  # Decoded only now, and they may be no UTF-8.
    return table
  except FileNotFoundError as e:
    raise errors.InputError(f"{path}: there is no such file") from e
  except (OSError, UnicodeDecodeError, pa.ArrowException) as e:
    raise errors.InputError(f"{path}: no Parquet file: {e}") from e


def _check_columns(path: pathlib.Path, table: pa.Table, vector: str) -> None:
  for name in (KEY, vector):
    if table.column_names.count(name) != 1:
      raise errors.InputError(
        f"{path}: expected the columns {KEY!r} and {vector!r}, found "
        f"{', '.join(map(repr, table.column_names)) or 'none'}"
      )
  kind = table.schema.field(vector).type
  # Stored features may be int8 with a scale.
  if not raw_values.is_list(kind) or not (
    pa.types.is_floating(kind.value_type)
    or (pa.types.is_int8(kind.value_type) and "scale" in table.column_names)
  ):
    raise errors.InputError(
      f"{path}: column {vector!r}: expected lists of float32, found {kind}"
    )


def _keys(path: pathlib.Path, table: pa.Table) -> list[str]:
  try:
    keys = table[KEY].cast(pa.string()).to_pylist()
  except (pa.ArrowException, UnicodeDecodeError) as e:
    raise errors.InputError(
      f"{path}: column {KEY!r}: expected strings, found {table[KEY].type}: {e}"
    ) from e
  if None in keys:
    raise errors.InputError(
      f"{path}: row {keys.index(None)}: expected a key, found null"
    )
  return keys


def _numbers(
  path: pathlib.Path, table: pa.Table, name: str
) -> Float[np.ndarray, "R D"]:
  """The vectors as float32, all of one length and finite."""
  column = table[name]
  lists = column.cast(pa.large_list(column.type.value_type)).combine_chunks()
  lengths = lists.value_lengths().fill_null(-1).to_numpy()
  width = next((n for n in lengths.tolist() if n >= 0), 0)
  wrong = np.flatnonzero(lengths != width)
  if len(wrong):
    found = lengths[wrong[0]]
    raise errors.InputError(
      f"{path}: row {wrong[0]}: expected a vector of {width} numbers, found "
      f"{'null' if found < 0 else found}"
    )
  flat = lists.flatten().to_numpy(zero_copy_only=False)
  values = flat.reshape(len(lists), width)
  _check_width(path, values)
  scale = table["scale"].to_numpy() if "scale" in table.column_names else None
  values = quantise.unpack(quantise.Packed(values, scale))
  _check_finite(path, values)
  return values


def _check_width(path: pathlib.Path, values: np.ndarray) -> None:
  if not values.size:
    raise errors.InputError(
      f"{path}: expected vectors of 1 number or more, found "
      f"{len(values)} of {values.shape[1]}"
    )


def _check_finite(path: pathlib.Path, values: np.ndarray) -> None:
  wrong = np.argwhere(~np.isfinite(values))
  if len(wrong):
    row, place = wrong[0].tolist()
    raise errors.InputError(
      f"{path}: row {row}, number {place}: expected a finite number, found "
      f"{values[row, place]}"
    )


def _check_distinct(
  parts: Iterable[tuple[pathlib.Path, Sequence[str]]],
) -> None:
  """Refuses a key that stands twice in the files."""
  seen: dict[str, tuple[pathlib.Path, int]] = {}
  for path, keys in parts:
    for row, key in enumerate(keys):
      if key in seen:
        file, first = seen[key]
        raise errors.InputError(
          f"{path}: row {row}: expected distinct keys, found {key!r} as in row "
          f"{first} of {file.name}"
        )
      seen[key] = path, row
