"""Reads a prepared data set, as docs/data.md lays it out."""

from collections.abc import Iterator, Mapping
import functools
import json
import pathlib
from typing import Any

from jaxtyping import Float
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dicm_jax import errors
from dicm_jax.data import (
  click_log,
  feature_files,
  files,
  image_store,
  schema_file,
)
from dicm_jax.data import schema as schema_lib
from dicm_jax.data.preparation import encode
from dicm_jax.data.preparation.job import MANIFEST, WORK
from dicm_jax.data.preparation.manifest import FORMAT


def load(path: pathlib.Path) -> click_log.Dataset:
  """Reads a data set made by `python -m dicm_jax.prepare`.

  Pictures and frozen features stay on disk until asked for.

  Raises:
    InputError: the folder holds no finished data set of this version, or a
      file is missing or has another size than the manifest says.
  """
  manifest = read_manifest(path)
  schema = schema_file.from_dict(manifest["schema"])
  pictures = image_store.ImageStore(path / "images")
  return click_log.Dataset(
    features=_features(schema, manifest["rows"]),
    train=_log(path, "train", schema, manifest),
    test=_log(path, "test", schema, manifest),
    image_names=tuple(feature_files.image_keys(path)),
    image_bytes=pictures,
    frozen=functools.partial(feature_files.find, path),
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
  schema: schema_lib.Schema, rows: Mapping[str, int]
) -> tuple[click_log.Feature, ...]:
  """ID features in the order of the schema, those of the history last."""

  def feature(name: str, field: schema_lib.Field, side, lists: bool):
    return click_log.Feature(
      name=name, side=side, rows=rows[field.name], lists=lists
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
    feature(encode.history_name(f), f, "user", True) for f in ids if f.history
  ]
  return (*own, *past)


def _log(path, split: str, schema: schema_lib.Schema, manifest):
  """One split, all its parts end to end."""
  parts = sorted((path / split).glob("part-*.parquet"))
  table = pa.concat_tables([pq.read_table(part) for part in parts])
  table = table.combine_chunks()
  group_of = _lists(table, "label")
  ad_image, behaviours = _images(table, schema, group_of)
  ids = [f for f in schema.feature if f.kind in schema_lib.ID_KINDS]
  return click_log.ClickLog(
    user_ids={
      name: _lists(table, name) for f in ids for name in _user_columns(f)
    },
    ad_ids={
      f.name: _values(table, f.name)
      for f in ids
      if f.side != "user" and f.kind == "id"
    },
    ad_lists={
      f.name: _inner_lists(table, f.name)
      for f in ids
      if f.side != "user" and f.kind != "id"
    },
    user_dense=_dense(table, schema, manifest, of_user=True),
    ad_dense=_dense(table, schema, manifest, of_user=False),
    behaviour_images=behaviours,
    ad_image=ad_image,
    label=group_of.values.astype(np.float32),
    group=np.repeat(np.arange(len(table)), group_of.lengths),
    user=np.unique(
      table["user"].to_numpy(zero_copy_only=False), return_inverse=True
    )[1],
  )


def _user_columns(field: schema_lib.Field) -> Iterator[str]:
  if field.side == "user":
    yield field.name
  if field.history:
    yield encode.history_name(field)


def _images(table: pa.Table, schema: schema_lib.Schema, group_of):
  """Image rows of the ads and of the behaviours; row 0 and none if absent."""
  image, images = schema.ad_image, schema.behaviour_images
  if image is None:
    ad_image = np.zeros(len(group_of.values), np.int32)
  else:
    ad_image = _values(table, image.name)
  if images is not None:
    behaviours = _lists(table, images.name)
  elif image is not None and image.history:
    behaviours = _lists(table, encode.history_name(image))
  else:
    nothing = np.zeros(0, np.int32)
    behaviours = click_log.Jagged(nothing, np.zeros(len(table) + 1, np.int64))
  return ad_image, behaviours


def _array(table: pa.Table, name: str) -> pa.Array:
  return table[name].combine_chunks()


def _values(table: pa.Table, name: str) -> np.ndarray:
  return _array(table, name).flatten().to_numpy()


def _lists(table: pa.Table, name: str) -> click_log.Jagged:
  """A column of lists, one a group."""
  weights = schema_lib.weight_column(name)
  return _jagged(
    _array(table, name),
    _array(table, weights) if weights in table.column_names else None,
  )


def _inner_lists(table: pa.Table, name: str) -> click_log.Jagged:
  """A column of lists of lists, as lists one a sample."""
  weights = schema_lib.weight_column(name)
  return _jagged(
    _array(table, name).flatten(),
    _array(table, weights).flatten() if weights in table.column_names else None,
  )


def _jagged(lists: pa.Array, weights: pa.Array | None) -> click_log.Jagged:
  lengths = lists.value_lengths().to_numpy()
  return click_log.Jagged(
    lists.flatten().to_numpy(),
    np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
    None if weights is None else weights.flatten().to_numpy(),
  )


def _dense(
  table, schema: schema_lib.Schema, manifest, *, of_user: bool
) -> Float[np.ndarray, "n K"]:
  """All dense numbers of one side, scaled; a missing one is the mean."""
  count = len(table) if of_user else len(_values(table, "label"))
  parts = [np.zeros((count, 0), np.float32)]
  for field in schema.feature:
    if field.kind == "dense" and (field.side == "user") == of_user:
      column = _array(table, field.name)
      while pa.types.is_list(column.type):
        column = column.flatten()
      numbers = column.to_numpy(zero_copy_only=False)
      parts.append(_scaled(numbers, field, manifest["dense"][field.name]))
  return np.concatenate(parts, axis=1)


def _scaled(numbers, field: schema_lib.Field, scale):
  out = numbers.reshape(-1, field.width).astype(np.float32)
  mean = np.array(scale["mean"], np.float32)
  if field.standardise:
    out = (out - mean) / np.array(scale["deviation"], np.float32)
    mean = np.zeros_like(mean)
  return np.where(np.isfinite(out), out, mean)
