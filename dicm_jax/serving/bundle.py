"""An exported model as it lies on disk: reading it, checked, without JAX.

docs/serving.md says what each file holds; nothing in it is unpickled.
"""

from collections.abc import Mapping
import dataclasses
import hashlib
import json
import pathlib
from typing import Any

from jaxtyping import Float, UInt8
import numpy as np
import pyarrow as pa
import safetensors
from safetensors import numpy as safetensors_numpy

from dicm_jax import errors
from dicm_jax.data import files
from dicm_jax.serving import fields as fields_lib
from dicm_jax.serving import vector_table, vocabulary

FORMAT = 1
"""Version of the layout."""
MANIFEST = "manifest.json"
CARD = "MODEL_CARD.md"
EXAMPLE = "example_request.json"
IMAGES = "images.parquet"
SOURCE = "source"
"""Column of IMAGES: what a vector was made of, see `Bundle.image_sources`."""
IDS = "ids"
"""Folder of a file for each feature."""
NET = "net.jaxexport"
ENCODER = "encoder.jaxexport"
"""Absent where no weights of ours see the pictures."""
PARAMETERS = "net.safetensors"
LAYERS = "image_layers.safetensors"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
  """An exported model in memory."""

  folder: pathlib.Path
  manifest: dict[str, Any]
  digest: str
  """SHA-256 of the manifest, and so of all files."""
  fields: fields_lib.Fields
  ids: Float[np.ndarray, "R D"]
  """Vectors of all features' rows, feature after feature."""
  images: Float[np.ndarray, "I E"]
  """Vectors of the image rows; a server has spare rows behind them."""
  vocabularies: Mapping[str, vocabulary.Vocabulary]
  image_keys: tuple[str, ...]
  """Name of each image row; empty: it has none."""
  image_of: Mapping[str, int]
  """Row of each image by its name."""
  image_sources: UInt8[np.ndarray, "S 32"] | None
  """SHA-256 of what each image's vector was made of: the encoded picture, or
  features made elsewhere. None: the bundle is of a version that noted none."""
  deltas: tuple[str, ...] = ()
  """Digests of the deltas that were applied, in order."""

  @property
  def model(self) -> dict[str, Any]:
    """The network's shape, as the run's config has it."""
    return self.manifest["config"]["model"]

  def arrays(self, name: str) -> dict[str, np.ndarray]:
    """Arrays of one of the files, PARAMETERS or LAYERS, by dotted name.

    Raises:
      InputError: the file is damaged.
    """
    path = self.folder / name
    try:
      return safetensors_numpy.load_file(path)
    except (safetensors.SafetensorError, OSError) as e:
      raise errors.InputError(f"{path}: damaged file: {e}") from e

  def example(self) -> dict[str, Any]:
    """A request made of the data set's own test split."""
    return json.loads((self.folder / EXAMPLE).read_text())


def read(folder: pathlib.Path) -> Bundle:
  """Reads a bundle, all of whose files are compared with their digests.

  Raises:
    InputError: the folder holds no bundle of this version; a file is missing
      or damaged; or a table is of another size than the manifest says.
  """
  folder = folder.resolve()  # A link may point elsewhere meanwhile.
  manifest, digest = read_manifest(folder)
  check_files(folder, manifest)
  try:
    return _read(folder, manifest, digest)
  except (KeyError, TypeError) as e:
    raise errors.InputError(
      f"{folder / MANIFEST}: expected the manifest of an exported model, found "
      f"none of it: {e!r}"
    ) from e


def read_manifest(folder: pathlib.Path) -> tuple[dict[str, Any], str]:
  """The manifest and its SHA-256.

  Raises:
    InputError: there is none, or it is of another version.
  """
  path = folder / MANIFEST
  try:
    text = path.read_bytes()
    manifest = json.loads(text)
  except FileNotFoundError as e:
    raise errors.InputError(
      f"{folder}: expected a folder made by dicm_jax.export, found no "
      f"{MANIFEST} in it"
    ) from e
  except (OSError, ValueError) as e:
    raise errors.InputError(f"{path}: cannot be read: {e}") from e
  found = manifest.get("format") if isinstance(manifest, dict) else None
  if found != FORMAT:
    raise errors.InputError(
      f"{path}: expected format {FORMAT}, found {found!r}; export the run again"
    )
  return manifest, hashlib.sha256(text).hexdigest()


def check_files(folder: pathlib.Path, manifest: dict[str, Any]) -> None:
  """Compares all files with the manifest.

  Raises:
    InputError: one is missing or another.
  """
  listed = manifest.get("files")
  if not isinstance(listed, dict):
    raise errors.InputError(f"{folder / MANIFEST}: expected a list of files")
  for name, entry in listed.items():
    path = folder / name
    if not path.resolve().is_relative_to(folder):
      raise errors.InputError(f"{path}: lies outside of the bundle")
    if not path.is_file():
      raise errors.InputError(f"{path}: expected a file, found none")
    found = files.digest(path)
    if found != entry["sha256"]:
      raise errors.InputError(
        f"{path}: expected SHA-256 {entry['sha256']}, found {found}: it was "
        "changed or damaged; export the run again"
      )


def ids_file(feature: str) -> str:
  """Name of a feature's table of vectors."""
  return f"{IDS}/{feature}.parquet"


def _read(folder, manifest, digest: str) -> Bundle:
  fields = fields_lib.from_dict(manifest["fields"])
  widths = manifest["widths"]
  vectors, vocabularies = [], {}
  for field in fields.ids:
    path = folder / ids_file(field.name)
    table, found = vector_table.read(path, field.rows, widths["ids"])
    vectors.append(found)
    vocabularies[field.name] = _vocabulary(field, table, path)
  keys, images, sources = _images(folder, fields, widths["images"])
  return Bundle(
    folder=folder,
    manifest=manifest,
    digest=digest,
    fields=fields,
    ids=np.concatenate(vectors),
    images=images,
    vocabularies=vocabularies,
    image_keys=keys,
    image_of={key: row for row, key in enumerate(keys) if key},
    image_sources=sources,
  )


def _vocabulary(
  field: fields_lib.IdField, table: pa.Table, path: pathlib.Path
) -> vocabulary.Vocabulary:
  if field.values == "hash":
    return vocabulary.Hashed(field.rows - 1)
  if field.values == "rows":
    return vocabulary.Rows(field.rows)
  if field.values != "vocabulary" or "value" not in table.column_names:
    raise errors.InputError(
      f"{path}: expected a column 'value', and values of one of the kinds "
      f"{', '.join(fields_lib.VALUES)}; found {field.values!r}"
    )
  return vocabulary.Listed(table["value"].to_pylist()[1:])


def _images(folder, fields: fields_lib.Fields, width: int):
  if not fields.image_rows:  # One row, so that there is something to index.
    return (), np.zeros((1, width), np.float32), None
  path = folder / IMAGES
  table, found = vector_table.read(path, fields.image_rows, width)
  if "key" not in table.column_names:
    raise errors.InputError(f"{path}: expected a column 'key'")
  keys = tuple(key or "" for key in table["key"].to_pylist())
  if SOURCE not in table.column_names:
    return keys, found, None
  return keys, found, files.digests_of(path, SOURCE, table[SOURCE])
