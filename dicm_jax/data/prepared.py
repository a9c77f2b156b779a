"""Reads a prepared data set, as docs/data.md lays it out."""

from collections.abc import Iterator, Mapping, Sequence
import functools
import hashlib
import json
import pathlib
from typing import Any

from jaxtyping import Float, Int
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dicm_jax import errors
from dicm_jax.data import (
  click_log,
  feature_files,
  files,
  image_store,
  schema_file,
  title_file,
)
from dicm_jax.data import schema as schema_lib
from dicm_jax.data.preparation import encode
from dicm_jax.data.preparation.job import MANIFEST, SPLITS, WORK
from dicm_jax.data.preparation.manifest import FORMAT


def load(path: pathlib.Path) -> click_log.Dataset:
  """Reads a data set made by `python -m dicm_jax.prepare`.

  Pictures and frozen features stay on disk until asked for; titles do not.

  Raises:
    InputError: the folder holds no finished data set of this version, or a
      file is missing or has another size than the manifest says.
  """
  manifest = read_manifest(path)
  schema = schema_file.from_dict(manifest["schema"])
  pictures = image_store.ImageStore(path / "images")
  queries, query = _queries(path) if schema.log.query else ((), {})
  return click_log.Dataset(
    features=_features(schema, manifest),
    train=_log(path, "train", schema, manifest, query.get("train")),
    test=_log(path, "test", schema, manifest, query.get("test")),
    image_names=tuple(feature_files.image_keys(path)),
    image_bytes=pictures,
    no_image=image_store.NO_IMAGE,
    titles=title_file.read(path),
    queries=queries,
    held=functools.partial(feature_files.held, path),
    digest=_digest(manifest),
    notice=manifest["notice"],
  )


def read_manifest(path: pathlib.Path) -> dict[str, Any]:
  """The manifest, once all its files are known to be there.

  Raises:
    InputError: as `load`.
  """
  file = path / MANIFEST
  try:
    manifest = json.loads(file.read_text())
  except FileNotFoundError as e:
    unfinished = (path / WORK).exists()
    what = (
      "its preparation has not finished; give its command again"
      if unfinished
      else "expected the folder of a data set made by dicm_jax.prepare"
    )
    raise errors.InputError(
      f"data.path: {path} holds no {MANIFEST}: {what}"
    ) from e
  except (OSError, ValueError) as e:
    raise errors.InputError(f"{file}: cannot be read: {e}") from e
  if manifest.get("format") != FORMAT:
    raise errors.InputError(
      f"{file}: expected format {FORMAT}, found "
      f"{manifest.get('format')!r}; prepare the data again"
    )
  for name, entry in manifest["files"].items():
    found = (path / name).stat().st_size if (path / name).exists() else None
    if found != entry["bytes"]:
      raise errors.InputError(
        f"{path / name}: expected {entry['bytes']} bytes, found "
        f"{'no file' if found is None else f'{found} bytes'}"
      )
  return manifest


def user_keys(path: pathlib.Path, split: str) -> list[str]:
  """Keys of a split's users, in the order that `ClickLog.user` counts them."""
  users: set[str] = set()
  for part in sorted((path / split).glob("part-*.parquet")):
    users |= set(pq.read_table(part, columns=["user"])["user"].to_pylist())
  return sorted(users)


def _digest(manifest: dict[str, Any]) -> str:
  """Of all that training reads; an encoder's features follow from the rest."""
  own = f"{feature_files.FOLDER}/{feature_files.PRECOMPUTED}/"
  contents = {
    name: entry["sha256"]
    for name, entry in manifest["files"].items()
    if not name.startswith(f"{feature_files.FOLDER}/") or name.startswith(own)
  }
  decisive = [contents, *(manifest[k] for k in ("schema", "rows", "dense"))]
  text = json.dumps(decisive, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def check_digests(path: pathlib.Path, manifest: dict[str, Any]) -> None:
  """Compares every file with the digest in the manifest.

  Raises:
    InputError: a file was changed or damaged since.
  """
  for name, entry in manifest["files"].items():
    found = files.digest(path / name)
    if found != entry["sha256"]:
      raise errors.InputError(
        f"{path / name}: expected SHA-256 {entry['sha256']}, found {found}: it "
        "was changed or damaged; remove the folder and prepare the data again"
      )


def _features(
  schema: schema_lib.Schema, manifest: Mapping[str, Any]
) -> tuple[click_log.Feature, ...]:
  """ID features in the order of the schema, those of the history last."""

  def feature(name: str, field: schema_lib.Field, side, lists: bool, past=""):
    learned = manifest["files"].get(f"vocab/{field.name}.parquet")
    return click_log.Feature(
      name=name,
      side=side,
      rows=manifest["rows"][field.name],
      lists=lists,
      context=field.side == "context",
      past_of=past,
      vocabulary=learned["sha256"] if learned else "",
    )

  ids = [f for f in schema.feature if f.kind in schema_lib.ID_KINDS]
  own = [
    feature(
      f.name,
      f,
      "user" if f.side == "user" else "ad",
      f.side == "user" or f.kind in schema_lib.LISTS,
    )
    for f in ids
  ]
  past = [
    feature(encode.history_name(f), f, "user", True, f.name)
    for f in ids
    if f.history
  ]
  return (*own, *past)


def _queries(
  path: pathlib.Path,
) -> tuple[tuple[str, ...], dict[str, Int[np.ndarray, " G"]]]:
  """The distinct queries in order, and by split the place of each group's."""
  texts = {k: list(_Parts(path / k).chunks(schema_lib.QUERY)) for k in SPLITS}
  known, code = _codes([chunk for chunks in texts.values() for chunk in chunks])
  known = known.to_pylist()
  none = known[:1] == [""]  # The first in order: no query, so it becomes -1.
  code -= none
  train = sum(map(len, texts["train"]))
  return tuple(known[none:]), {"train": code[:train], "test": code[train:]}


def _log(path, split: str, schema: schema_lib.Schema, manifest, query):
  """One split, all its parts end to end."""
  parts = _Parts(path / split)
  group_of = parts.lists("label")
  samples, groups = len(group_of.values), len(group_of.offsets) - 1
  ids = [f for f in schema.feature if f.kind in schema_lib.ID_KINDS]
  numbers = np.arange(groups, dtype=group_of.offsets.dtype)
  return click_log.ClickLog(
    user_ids={
      name: parts.lists(name) for f in ids for name in _user_columns(f)
    },
    ad_ids={
      f.name: parts.values(f.name)
      for f in ids
      if f.side != "user" and f.kind == "id"
    },
    ad_lists={
      f.name: parts.inner_lists(f.name)
      for f in ids
      if f.side != "user" and f.kind != "id"
    },
    user_dense=_dense(parts, schema, manifest, groups, of_user=True),
    ad_dense=_dense(parts, schema, manifest, samples, of_user=False),
    behaviour_images=_behaviour_images(parts, schema, groups),
    ad_image=(
      parts.values(schema.ad_image.name)
      if schema.ad_image
      else np.zeros(samples, np.int32)
    ),
    label=group_of.values.astype(np.float32, copy=False),
    group=np.repeat(numbers, group_of.lengths),
    user=parts.codes("user"),
    time=parts.values("time"),
    query=query,
  )


def _user_columns(field: schema_lib.Field) -> Iterator[str]:
  if field.side == "user":
    yield field.name
  if field.history:
    yield encode.history_name(field)


def _behaviour_images(parts: "_Parts", schema: schema_lib.Schema, groups: int):
  image, images = schema.ad_image, schema.behaviour_images
  if images is not None:
    return parts.lists(images.name)
  if image is not None and image.history:
    return parts.lists(encode.history_name(image))
  nothing = np.zeros(0, np.int32)
  return click_log.Jagged(nothing, np.zeros(groups + 1, np.int32))


class _Parts:
  """The shards of a split, read column by column and part by part.

  So the memory at the peak is the result's and a column's, and a column may
  hold more values than one Arrow array.
  """

  def __init__(self, folder: pathlib.Path):
    self._paths = sorted(folder.glob("part-*.parquet"))
    self._names = pq.read_schema(self._paths[0]).names

  def chunks(self, name: str) -> Iterator[pa.Array]:
    for path in self._paths:
      yield from pq.read_table(path, columns=[name])[name].chunks

  def values(self, name: str) -> np.ndarray:
    """All values of a column, whatever lists they are in."""
    return _joined([_flat(chunk) for chunk in self.chunks(name)])

  def lists(self, name: str, depth: int = 0) -> click_log.Jagged:
    """A column of lists, one a group; at depth 1 those within, one a sample."""
    values, lengths = [], []
    for chunk in self.chunks(name):
      inner = chunk.flatten() if depth else chunk
      values.append(_flat(inner))
      lengths.append(inner.value_lengths().to_numpy())
    weights = schema_lib.weight_column(name)
    return click_log.Jagged(
      _joined(values),
      offsets_of(lengths),
      self.values(weights) if weights in self._names else None,
    )

  def inner_lists(self, name: str) -> click_log.Jagged:
    return self.lists(name, depth=1)

  def codes(self, name: str) -> np.ndarray:
    """Number of each string among all that occur, in order."""
    return _codes(list(self.chunks(name)))[1]


def _codes(texts: list[pa.Array]) -> tuple[pa.Array, Int[np.ndarray, " n"]]:
  """The distinct strings in order, and the place of each one there."""
  found = pa.chunked_array(texts, pa.string())
  encoded = found.dictionary_encode().unify_dictionaries()
  if not encoded.num_chunks:
    return pa.array([], pa.string()), np.zeros(0, np.int32)
  distinct = encoded.chunk(0).dictionary
  order = pc.call_function("sort_indices", [distinct])
  rank = np.empty(len(order), np.int32)
  rank[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
  code = np.concatenate([rank[c.indices.to_numpy()] for c in encoded.chunks])
  return distinct.take(order), code


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
  return np.concatenate(parts) if parts else np.zeros(0, np.int32)


def _flat(column: pa.Array) -> np.ndarray:
  while pa.types.is_list(column.type):
    column = column.flatten()
  return column.to_numpy(zero_copy_only=False)


def offsets_of(lengths: Sequence[np.ndarray]) -> np.ndarray:
  """Where each list begins, and the end of all: int32 where that is enough.

  >>> offsets_of([np.array([2, 1]), np.array([4])]).tolist()
  [0, 2, 3, 7]
  """
  total = sum(int(part.sum(dtype=np.int64)) for part in lengths)
  dtype = np.int32 if total < 2**31 else np.int64
  out = np.zeros(1 + sum(map(len, lengths)), dtype)
  np.concatenate([out[:1], *lengths], out=out, casting="same_kind")
  return np.cumsum(out, dtype=dtype, out=out)


def _dense(
  parts: _Parts, schema, manifest, count: int, *, of_user: bool
) -> Float[np.ndarray, "n K"]:
  """All dense numbers of one side, scaled; a missing one is the mean."""
  fields = [
    f
    for f in schema.feature
    if f.kind == "dense" and (f.side == "user") == of_user
  ]
  out = np.empty((count, sum(f.width for f in fields)), np.float32)
  end = 0
  for field in fields:
    first, end = end, end + field.width
    numbers = parts.values(field.name)
    out[:, first:end] = _scaled(numbers, field, manifest["dense"][field.name])
  return out


def _scaled(numbers, field: schema_lib.Field, scale):
  out = numbers.reshape(-1, field.width).astype(np.float32)
  mean = np.array(scale["mean"], np.float32)
  if field.standardise:
    out = (out - mean) / np.array(scale["deviation"], np.float32)
    mean = np.zeros_like(mean)
  return np.where(np.isfinite(out), out, mean)
