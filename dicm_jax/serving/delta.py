"""What has changed in a bundle's tables since it was exported: a delta.

A folder beside the bundle. Deltas stand on each other: each names the bundle,
and the contents of the tables before and after it.
"""

from collections.abc import Iterator
import dataclasses
import hashlib
import json
import pathlib
from typing import Any, NamedTuple

from jaxtyping import Float, UInt8
import numpy as np
import pyarrow as pa

from dicm_jax import errors
from dicm_jax.data import files
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import vector_table, vocabulary

FORMAT = 1
KIND = "delta"
OPS = ("added", "changed", "removed")
FOLDER = "deltas"
"""Of a bundle's folder: where its deltas are looked for."""


class Changes(NamedTuple):
  """Rows of a table, by the key that requests name."""

  keys: tuple[str, ...]
  ops: tuple[str, ...]
  """Of each key, one of OPS."""
  vectors: Float[np.ndarray, "n E"]
  """Zeros for what is removed."""
  sources: UInt8[np.ndarray, "n 32"] | None
  """Of pictures: what made each vector, see `Bundle.image_sources`."""


class Tables(NamedTuple):
  """What a delta changes."""

  images: Changes | None
  ids: dict[str, Changes]
  """By feature; values are only ever added."""


def contents(bundle: bundle_lib.Bundle) -> str:
  """SHA-256 of the image table, and of the ids that deltas have added."""
  rows = bundle.fields.image_rows
  digest = hashlib.sha256("\0".join(bundle.image_keys).encode())
  digest.update(np.ascontiguousarray(bundle.images[:rows]).data)
  was = {f["name"]: f["rows"] for f in bundle.manifest["fields"]["ids"]}
  end = 0
  for field in bundle.fields.ids:
    begin, end = end + was[field.name], end + field.rows
    if begin < end:
      known = bundle.vocabularies[field.name]
      added = [known.value(row) for row in range(was[field.name], field.rows)]
      digest.update(json.dumps([field.name, added]).encode())
      digest.update(np.ascontiguousarray(bundle.ids[begin:end]).data)
  return digest.hexdigest()


def applied(bundle: bundle_lib.Bundle, tables: Tables) -> bundle_lib.Bundle:
  """The bundle with its tables changed; itself it stays as it is.

  Rows are not moved: what is added comes behind, and what is removed leaves a
  row that nobody can name.

  Raises:
    InputError: a key that is to be added is known, or one that is to be changed
      or removed is not.
  """
  if tables.images is not None:
    bundle = _with_images(bundle, tables.images)
  return _with_ids(bundle, tables.ids) if tables.ids else bundle


def _with_images(
  bundle: bundle_lib.Bundle, changes: Changes
) -> bundle_lib.Bundle:
  before = bundle.fields.image_rows
  ops = np.array(changes.ops)
  new = ops == "added"
  keys = [*bundle.image_keys, *_some(changes.keys, new)]
  # A server's has uploaded pictures besides.
  row_of = {k: row for k, row in bundle.image_of.items() if row < before}
  images = np.concatenate([bundle.images[:before], changes.vectors[new]])
  sources = bundle.image_sources
  if sources is not None and changes.sources is not None:
    sources = np.concatenate([sources, changes.sources[new]])
  end = before
  for number, (key, op) in enumerate(
    zip(changes.keys, changes.ops, strict=True)
  ):
    if (key in row_of) == (op == "added"):
      known = "a new one" if op == "added" else "a known one"
      raise errors.InputError(f"image {key!r}: {op}, expected {known}")
    if op == "added":
      row_of[key], end = end, end + 1
      continue
    row = row_of[key]
    images[row] = changes.vectors[number]
    if sources is not None and changes.sources is not None:
      sources[row] = changes.sources[number]
    if op == "removed":
      del row_of[key]
      keys[row] = ""
  return dataclasses.replace(
    bundle,
    fields=dataclasses.replace(bundle.fields, image_rows=len(keys)),
    images=images,
    image_keys=tuple(keys),
    image_of=row_of,
    image_sources=sources,
  )


def _some(keys: tuple[str, ...], keep: np.ndarray) -> Iterator[str]:
  return (key for key, kept in zip(keys, keep, strict=True) if kept)


def _with_ids(
  bundle: bundle_lib.Bundle, changes: dict[str, Changes]
) -> bundle_lib.Bundle:
  parts, fields, known = [], [], dict(bundle.vocabularies)
  end = 0
  for field in bundle.fields.ids:
    begin, end = end, end + field.rows
    parts.append(bundle.ids[begin:end])
    change = changes.get(field.name)
    if change is not None:
      known[field.name] = _grown(field.name, known[field.name], change)
      parts.append(change.vectors)
      field = dataclasses.replace(field, rows=field.rows + len(change.keys))
    fields.append(field)
  unknown = changes.keys() - {field.name for field in fields}
  if unknown:
    raise errors.InputError(f"ids: the bundle has no feature {min(unknown)!r}")
  return dataclasses.replace(
    bundle,
    fields=dataclasses.replace(bundle.fields, ids=tuple(fields)),
    ids=np.concatenate(parts),
    vocabularies=known,
  )


def _grown(
  name: str, known: vocabulary.Vocabulary, change: Changes
) -> vocabulary.Listed:
  if not isinstance(known, vocabulary.Listed):
    raise errors.InputError(
      f"ids of {name!r}: expected a feature with a learned vocabulary, as no "
      "other can grow"
    )
  for key, op in zip(change.keys, change.ops, strict=True):
    if op != "added" or known.row(key) != vocabulary.UNKNOWN:
      raise errors.InputError(
        f"id {key!r} of {name!r}: {op}, expected a new one that is added"
      )
  return known.grown(change.keys)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Delta:
  """A delta as it lies on disk."""

  folder: pathlib.Path
  manifest: dict[str, Any]
  digest: str
  """SHA-256 of the manifest, and so of all files."""


def read_manifest(folder: pathlib.Path) -> Delta:
  """What a delta says of itself.

  Raises:
    InputError: the folder holds none of this version.
  """
  manifest, digest = bundle_lib.read_manifest(folder)
  if manifest.get("kind") != KIND:
    raise errors.InputError(
      f"{folder}: expected a delta, found kind {manifest.get('kind')!r}"
    )
  return Delta(folder=folder, manifest=manifest, digest=digest)


def follow(bundle: bundle_lib.Bundle, delta: Delta) -> bundle_lib.Bundle:
  """The bundle with a delta applied.

  Raises:
    InputError: it is for another bundle or for other contents, a file is
      missing or damaged, or the result is not what it says.
  """
  said, here = delta.manifest, delta.folder / bundle_lib.MANIFEST
  try:
    _expect(here, "bundle", bundle.digest, said["bundle"])
    _expect(here, "since", contents(bundle), said["since"])
    bundle_lib.check_files(delta.folder.resolve(), said)
    made = applied(bundle, _tables(delta))
    _expect(here, "result", contents(made), said["result"])
  except (KeyError, TypeError) as e:
    raise errors.InputError(
      f"{here}: expected the manifest of a delta, found none of it: {e!r}"
    ) from e
  return dataclasses.replace(made, deltas=(*bundle.deltas, delta.digest))


def _expect(where: pathlib.Path, what: str, here: str, said: str) -> None:
  if here != said:
    raise errors.InputError(
      f"{where}: {what}: the delta is for {said}, here is {here}"
    )


def _tables(delta: Delta) -> Tables:
  files_, widths = delta.manifest["files"], delta.manifest["widths"]
  rows = delta.manifest["rows"]

  def read(name: str, width: int) -> Changes:
    return _read(delta.folder / name, rows[name], width)

  images = bundle_lib.IMAGES
  return Tables(
    read(images, widths["images"]) if images in files_ else None,
    {
      name.removeprefix(f"{bundle_lib.IDS}/").removesuffix(".parquet"): read(
        name, widths["ids"]
      )
      for name in files_
      if name.startswith(f"{bundle_lib.IDS}/")
    },
  )


def _read(path: pathlib.Path, rows: int, width: int) -> Changes:
  table, vectors = vector_table.read(path, rows, width)
  try:
    keys, ops = table["key"].to_pylist(), table["op"].to_pylist()
  except KeyError as e:
    raise errors.InputError(f"{path}: expected a column {e}") from e
  wrong = set(ops) - set(OPS)
  if wrong or not all(isinstance(key, str) and key for key in keys):
    raise errors.InputError(
      f"{path}: expected keys, each with one of {', '.join(OPS)}"
    )
  sources = None
  if bundle_lib.SOURCE in table.column_names:
    sources = files.digests_of(
      path, bundle_lib.SOURCE, table[bundle_lib.SOURCE]
    )
  return Changes(tuple(keys), tuple(ops), vectors, sources)


def write(
  folder: pathlib.Path,
  bundle: bundle_lib.Bundle,
  tables: Tables,
  about: dict[str, Any],
) -> dict[str, Any]:
  """Writes a delta of a bundle, and applies it once to say what comes of it.

  Args:
    folder: empty.
    bundle: with the deltas before this one applied.
    tables: what changes; vectors as the bundle's type has them.
    about: what the manifest says besides.

  Returns:
    The manifest.
  """
  dtype, rows = bundle.manifest["dtype"], {}
  named = {bundle_lib.ids_file(name): c for name, c in tables.ids.items()}
  if tables.images is not None:
    named[bundle_lib.IMAGES] = tables.images
  made = applied(bundle, tables)
  for name, changes in named.items():
    columns = {
      "key": pa.array(changes.keys, pa.string()),
      "op": pa.array(changes.ops, pa.string()),
    }
    if changes.sources is not None:
      columns["row"] = pa.array(_rows(bundle, made, changes), pa.int64())
      columns[bundle_lib.SOURCE] = files.digests_column(changes.sources)
    vector_table.write(folder / name, columns, changes.vectors, dtype)
    rows[name] = len(changes.keys)
  manifest = about | {
    "format": bundle_lib.FORMAT,
    "kind": KIND,
    "bundle": bundle.digest,
    "since": contents(bundle),
    "result": contents(made),
    "dtype": dtype,
    "widths": bundle.manifest["widths"],
    "rows": rows,
    "files": {
      name: {
        "bytes": (folder / name).stat().st_size,
        "sha256": files.digest(folder / name),
      }
      for name in named
    },
  }
  files.write_json(folder / bundle_lib.MANIFEST, manifest)
  return manifest


def _rows(before, after, changes: Changes) -> list[int]:
  """Row of each picture; of what is removed, the row it had."""
  return [
    (before if op == "removed" else after).image_of[key]
    for key, op in zip(changes.keys, changes.ops, strict=True)
  ]
