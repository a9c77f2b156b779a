"""Frozen features of a prepared data set: a folder for each encoder.

  features/squeezenet-1a2b3c4d/encoder.json
  features/squeezenet-1a2b3c4d/part-00000.parquet

Line r of all parts end to end is the vector of image row r. `encoder.json`
says what made them. Vectors that the user brought lie in
features/precomputed, with the image keys beside them.
"""

from collections.abc import Iterable, Iterator, Sequence
import dataclasses
import itertools
import json
import pathlib

from jaxtyping import Float
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dicm_jax import errors
from dicm_jax.data import (
  files,
  held_rows,
  image_store,
  number_checks,
  quantise,
  source,
  title_file,
)

FOLDER = "features"
PRECOMPUTED = "precomputed"
"""Name and digest of vectors that the user brought."""
META = "encoder.json"
PART_ROWS = 4096


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoder:
  """What made the features of a folder."""

  name: str
  digest: str
  """Of all that decides a picture's features."""
  width: int
  dtype: str
  """How they are stored: float32, float16 or int8."""
  notice: str
  """What every report must say about the weights."""

  @property
  def folder(self) -> str:
    if self.name == PRECOMPUTED:
      return PRECOMPUTED
    return f"{self.name}-{self.digest[:8]}"


def num_parts(images: int) -> int:
  """Number of parts that so many image rows take."""
  return -(-images // PART_ROWS)


def rows_of(part: int, images: int) -> slice:
  """Image rows of a part."""
  return slice(part * PART_ROWS, min((part + 1) * PART_ROWS, images))


def exists(root: pathlib.Path, encoder: Encoder, part: int) -> bool:
  return _part(root / FOLDER / encoder.folder, part).exists()


def write_part(
  root: pathlib.Path,
  encoder: Encoder,
  part: int,
  keys: Sequence[str],
  vectors: Float[np.ndarray, "n F"],
) -> None:
  """Writes one part: the features of image rows `rows_of(part)`."""
  columns = _columns(vectors, encoder) | {"key": pa.array(keys, pa.string())}
  path = _part(root / FOLDER / encoder.folder, part)
  files.write_parquet(path, pa.table(columns))


def finish(root: pathlib.Path, encoder: Encoder) -> None:
  """Says what made the parts: only then are they used."""
  meta = root / FOLDER / encoder.folder / META
  files.write_json(meta, dataclasses.asdict(encoder))


def _part(folder: pathlib.Path, number: int) -> pathlib.Path:
  return folder / f"part-{number:05d}.parquet"


def _columns(vectors, encoder: Encoder) -> dict[str, pa.Array]:
  packed = quantise.pack(vectors, encoder.dtype)
  flat = pa.array(packed.values.reshape(-1))
  out: dict[str, pa.Array] = {
    "features": pa.FixedSizeListArray.from_arrays(flat, encoder.width)
  }
  if packed.scale is not None:
    out["scale"] = pa.array(packed.scale)
  return out


def _scale(path: pathlib.Path) -> Float[np.ndarray, " n"]:
  table = pq.read_table(path, columns=["scale"])
  number_checks.check(path, "scale", table["scale"], number_checks.FINITE)
  return table["scale"].to_numpy()


def _packed(path: pathlib.Path, encoder: Encoder) -> quantise.Packed:
  """A part as it is stored.

  Raises:
    InputError: it cannot be read, its vectors have another width than the
      encoder's, or one is not finite.
  """
  try:
    table = pq.read_table(path)
    lists = table["features"].combine_chunks()
  except (OSError, KeyError, pa.ArrowException) as e:
    raise errors.InputError(f"{path}: features cannot be read: {e}") from e
  values = lists.flatten().to_numpy(zero_copy_only=False)
  if len(values) != len(table) * encoder.width:
    raise errors.InputError(
      f"{path}: expected {len(table)} rows of {encoder.width} numbers, as "
      f"{META} says; found {len(values)} numbers"
    )
  values = values.reshape(len(table), encoder.width)
  number_checks.check_vectors(path, values)
  scale = _scale(path) if "scale" in table.column_names else None
  return quantise.Packed(values, scale)


def encoders(root: pathlib.Path) -> list[Encoder]:
  """All whose features are complete, by name of their folder."""
  found = sorted((root / FOLDER).glob(f"*/{META}"))
  return [Encoder(**json.loads(path.read_text())) for path in found]


def held(
  root: pathlib.Path, digest: str, mapped: bool
) -> held_rows.HeldRows | None:
  """Features of all image rows by the encoder's digest; None: there are none.

  Args:
    root: folder of the data set.
    digest: of the encoder.
    mapped: whether a row is read when it is wanted. Parquet knows no single
      rows, so they are written once more to a plain file beside the parts: on
      disk they take twice the room.

  Raises:
    InputError: that file cannot be written, or a vector is not finite; of a
      plain file that is there already this is not looked for.
  """
  for encoder in encoders(root):
    if encoder.digest == digest:
      folder = root / FOLDER / encoder.folder
      return _mapped(folder, encoder) if mapped else _in_memory(folder, encoder)
  return None


def _in_memory(folder: pathlib.Path, encoder: Encoder) -> held_rows.HeldRows:
  parts = [
    _packed(path, encoder) for path in sorted(folder.glob("part-*.parquet"))
  ]
  scales = [part.scale for part in parts if part.scale is not None]
  values = np.concatenate([part.values for part in parts])
  return held_rows.HeldRows(values, np.concatenate(scales) if scales else None)


def _mapped(folder: pathlib.Path, encoder: Encoder) -> held_rows.HeldRows:
  parts = sorted(folder.glob("part-*.parquet"))
  values, scale = folder / "rows.npy", folder / "scale.npy"
  rows = sum(pq.ParquetFile(path).metadata.num_rows for path in parts)
  try:
    if encoder.dtype == "int8" and not scale.exists():
      blocks = (_scale(path) for path in parts)
      held_rows.write(scale, blocks, (rows,), np.dtype(np.float32))
    if not values.exists():
      shape, dtype = (rows, encoder.width), np.dtype(encoder.dtype)
      blocks = (_packed(path, encoder).values for path in parts)
      held_rows.write(values, blocks, shape, dtype)
  except OSError as e:
    raise errors.InputError(
      f"{folder}: cannot be written ({e.strerror or e}); image.tier='file' "
      "needs the features as a plain file there"
    ) from e
  return held_rows.HeldRows(
    held_rows.mapped(values),
    np.load(scale) if encoder.dtype == "int8" else None,
  )


def image_keys(root: pathlib.Path) -> list[str]:
  """Key of each image row; "" for row 0.

  From the pictures, else from vectors made elsewhere, else from the titles.
  """
  if (root / "images").exists():
    return image_store.names(root / "images")
  folder = root / FOLDER / PRECOMPUTED
  if not folder.exists() and title_file.exists(root):
    return title_file.keys(root)
  paths = sorted(folder.glob("part-*.parquet"))
  tables = [pq.read_table(path, columns=["key"]) for path in paths]
  return [key for table in tables for key in table["key"].to_pylist()]


def write_precomputed(
  root: pathlib.Path,
  vectors: source.Vectors,
  wanted: frozenset[str],
  dtype: str,
) -> int:
  """Stores the user's own vectors, in the order of their source, from row 1.

  Row 0 is their mean: an image without a vector teaches nothing.

  Returns:
    How many there are.

  Raises:
    InputError: none of the wanted keys has a vector.
  """
  keys, mean = [""], np.zeros(vectors.width)
  for names, block in vectors.read(wanted):
    keys += names
    mean += block.sum(0, dtype=np.float64)
  if len(keys) == 1:
    raise errors.InputError(
      "none of the images that the log names has a vector"
    )
  encoder = Encoder(
    name=PRECOMPUTED,
    digest=PRECOMPUTED,
    width=vectors.width,
    dtype=dtype,
    notice="vectors made elsewhere",
  )
  first = (mean / (len(keys) - 1)).astype(np.float32)[None]
  blocks = (block for _, block in vectors.read(wanted))
  for part, block in enumerate(_cut(itertools.chain([first], blocks))):
    write_part(root, encoder, part, keys[rows_of(part, len(keys))], block)
  finish(root, encoder)
  return len(keys) - 1


def _cut(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
  """The same rows in blocks of PART_ROWS, the last one of fewer."""
  waiting: list[np.ndarray] = []
  for block in blocks:
    joined = np.concatenate([*waiting, block])
    while len(joined) >= PART_ROWS:
      yield joined[:PART_ROWS]
      joined = joined[PART_ROWS:]
    waiting = [joined]
  if len(waiting[0]):
    yield waiting[0]
