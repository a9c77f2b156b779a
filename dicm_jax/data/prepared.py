"""Reads a prepared data set, as docs/data.md lays it out."""

from collections.abc import Iterator, Mapping
import functools
import hashlib
import json
import pathlib
from typing import Any

from jaxtyping import Float, Int
import numpy as np
import pyarrow as pa

from dicm_jax import errors
from dicm_jax.data import (
  click_log,
  feature_files,
  files,
  image_store,
  manifest_check,
  number_checks,
  schema_file,
  shard_reader,
  title_file,
)
from dicm_jax.data import schema as schema_lib
from dicm_jax.data.preparation import encode
from dicm_jax.data.preparation.job import MANIFEST, SPLITS, WORK
from dicm_jax.data.preparation.manifest import FORMAT
from dicm_jax.data.shard_reader import Parts


def load(path: pathlib.Path) -> click_log.Dataset:
  """Reads a data set made by `python -m dicm_jax.prepare`.

  Pictures and frozen features stay on disk until asked for; titles do not.

  Raises:
    InputError: the folder holds no finished data set of this version; or a
      file is missing or has another size than the manifest says, is damaged,
      holds others than the rows that the manifest speaks of, or a number that
      training cannot use, see `number_checks`.
  """
  manifest = read_manifest(path)
  schema = _schema(path / MANIFEST, manifest)
  pictures = image_store.ImageStore(path / "images")
  names = tuple(feature_files.image_keys(path))
  titles = title_file.read(path)
  if titles is not None and len(titles) != len(names):
    raise errors.InputError(
      f"{path / title_file.NAME}: expected {len(names)} titles, one an image "
      f"row; found {len(titles)}"
    )
  images = max(len(names), 1)
  queries, query = _queries(path) if schema.log.query else ((), {})
  return click_log.Dataset(
    features=_features(schema, manifest),
    train=_log(path, "train", schema, manifest, images, query.get("train")),
    test=_log(path, "test", schema, manifest, images, query.get("test")),
    image_names=names,
    image_bytes=pictures,
    no_image=image_store.NO_IMAGE,
    titles=titles,
    queries=queries,
    user_dense_names=_dense_names(schema, of_user=True),
    ad_dense_names=_dense_names(schema, of_user=False),
    held=functools.partial(feature_files.held, path, rows=len(names)),
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
  except (OSError, ValueError, RecursionError) as e:
    raise errors.InputError(f"{file}: cannot be read: {e}") from e
  if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
    found = manifest.get("format") if isinstance(manifest, dict) else manifest
    raise errors.InputError(
      f"{file}: expected format {FORMAT}, found {found!r}; prepare the data "
      "again"
    )
  manifest_check.check(file, manifest)
  for name, entry in manifest["files"].items():
    found = (path / name).stat().st_size if (path / name).is_file() else None
    if found != entry["bytes"]:
      raise errors.InputError(
        f"{path / name}: expected {entry['bytes']} bytes, found "
        f"{'no file' if found is None else f'{found} bytes'}"
      )
  return manifest


def _schema(file: pathlib.Path, manifest) -> schema_lib.Schema:
  """The schema, once rows and scales of its features are known to be there."""
  try:
    schema = schema_file.from_dict(manifest["schema"])
  except errors.InputError as e:
    raise errors.InputError(f"{file}: {e}") from e
  manifest_check.check_features(file, manifest, schema)
  return schema


def user_keys(path: pathlib.Path, split: str) -> list[str]:
  """Keys of a split's users, in the order that `ClickLog.user` counts them."""
  users: set[str] = set()
  for part in sorted((path / split).glob("part-*.parquet")):
    users |= set(files.read_texts(part, "user"))
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
  texts = {
    split: list(Parts(path / split).chunks(schema_lib.QUERY, pa.string()))
    for split in SPLITS
  }
  known, code = shard_reader.codes(
    [chunk for chunks in texts.values() for chunk in chunks]
  )
  known = known.to_pylist()
  none = known[:1] == [""]  # The first in order: no query, so it becomes -1.
  code -= none
  train = sum(map(len, texts["train"]))
  return tuple(known[none:]), {"train": code[:train], "test": code[train:]}


def _log(path, split: str, schema: schema_lib.Schema, manifest, images, query):
  """One split, all its parts end to end."""
  parts = Parts(path / split)
  group_of = parts.labels()
  samples, groups = len(group_of.values), len(group_of.offsets) - 1
  rows = manifest["rows"]
  ids = [f for f in schema.feature if f.kind in schema_lib.ID_KINDS]
  numbers = np.arange(groups, dtype=group_of.offsets.dtype)
  return click_log.ClickLog(
    user_ids={
      name: parts.lists(name, rows[f.name])
      for f in ids
      for name in _user_columns(f)
    },
    ad_ids={
      f.name: parts.rows(f.name, rows[f.name], samples)
      for f in ids
      if f.side != "user" and f.kind == "id"
    },
    ad_lists={
      f.name: parts.lists(f.name, rows[f.name], depth=1)
      for f in ids
      if f.side != "user" and f.kind != "id"
    },
    user_dense=_dense(parts, schema, manifest, groups, of_user=True),
    ad_dense=_dense(parts, schema, manifest, samples, of_user=False),
    behaviour_images=_behaviour_images(parts, schema, groups, images),
    ad_image=(
      parts.rows(schema.ad_image.name, images, samples)
      if schema.ad_image
      else np.zeros(samples, np.int32)
    ),
    label=group_of.values.astype(np.float32, copy=False),
    group=np.repeat(numbers, group_of.lengths),
    user=parts.codes("user"),
    time=parts.values("time", pa.int64(), groups),
    query=query,
  )


def _user_columns(field: schema_lib.Field) -> Iterator[str]:
  if field.side == "user":
    yield field.name
  if field.history:
    yield encode.history_name(field)


def _behaviour_images(
  parts: Parts, schema: schema_lib.Schema, groups: int, rows: int
):
  image, images = schema.ad_image, schema.behaviour_images
  if images is not None:
    return parts.lists(images.name, rows)
  if image is not None and image.history:
    return parts.lists(encode.history_name(image), rows)
  nothing = np.zeros(0, np.int32)
  return click_log.Jagged(nothing, np.zeros(groups + 1, np.int32))


def _dense_fields(schema: schema_lib.Schema, *, of_user: bool):
  return [
    f
    for f in schema.feature
    if f.kind == "dense" and (f.side == "user") == of_user
  ]


def _dense_names(
  schema: schema_lib.Schema, *, of_user: bool
) -> tuple[str, ...]:
  """Names of the dense numbers of one side."""
  fields = _dense_fields(schema, of_user=of_user)
  return tuple(
    f"{f.name}[{i}]" if f.width > 1 else f.name
    for f in fields
    for i in range(f.width)
  )


def _dense(
  parts: Parts, schema, manifest, count: int, *, of_user: bool
) -> Float[np.ndarray, "n K"]:
  """All dense numbers of one side, scaled; a missing one is the mean."""
  fields = _dense_fields(schema, of_user=of_user)
  out = np.empty((count, sum(f.width for f in fields)), np.float32)
  end = 0
  kind = pa.list_(shard_reader.NUMBERS)
  for field in fields:
    first, end = end, end + field.width
    numbers = parts.values(
      field.name,
      kind if of_user else pa.list_(kind),
      count * field.width,
      number_checks.DENSE,
    )
    out[:, first:end] = _scaled(numbers, field, manifest["dense"][field.name])
  return out


def _scaled(numbers, field: schema_lib.Field, scale):
  out = numbers.reshape(-1, field.width).astype(np.float32)
  mean = np.array(scale["mean"], np.float32)
  if field.standardise:
    deviation = np.array(scale["deviation"], np.float32)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
      out = (out - mean) / deviation
    if np.isinf(out).any():
      raise errors.InputError(
        f"feature {field.name!r}: expected numbers that float32 can hold once "
        f"they are scaled, found too large ones (mean {scale['mean']}, "
        f"deviation {scale['deviation']} in {MANIFEST})"
      )
    mean = np.zeros_like(mean)
  return np.where(np.isnan(out), mean, out)
