"""Frozen features of a prepared data set: a folder for each encoder.

  features/squeezenet-1a2b3c4d/encoder.json
  features/squeezenet-1a2b3c4d/part-00000.parquet

Line r of all parts end to end is the vector of image row r. `encoder.json`
says what made them. Vectors that the user brought lie in
features/precomputed, with the image keys beside them.
"""

from collections.abc import Iterable, Iterator, Sequence
import dataclasses
import hashlib
import itertools
import json
import pathlib

from jaxtyping import Float, UInt8
import numpy as np
import pyarrow as pa

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
MAX_WIDTH = 1 << 24
"""Numbers of a vector, at most."""


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

  def __post_init__(self):
    kinds = {"name": str, "digest": str, "dtype": str, "notice": str}
    for name, kind in (kinds | {"width": int}).items():
      if type(getattr(self, name)) is not kind:
        raise errors.InputError(
          f"{name}: expected {kind.__name__}, found {getattr(self, name)!r}"
        )
    if self.dtype not in quantise.DTYPES:
      raise errors.unknown_name("dtype", self.dtype, quantise.DTYPES)
    if not 1 <= self.width <= MAX_WIDTH:
      raise errors.InputError(
        f"width: expected 1 to {MAX_WIDTH:,}, found {self.width}"
      )

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
  column = files.read_column(path, "scale")
  if column.type != pa.float32():
    raise errors.InputError(
      f"{path}: column 'scale': expected float32, found {column.type}"
    )
  number_checks.check(path, "scale", column, number_checks.FINITE)
  return column.to_numpy()


def _packed(path: pathlib.Path, encoder: Encoder) -> quantise.Packed:
  """A part, once it is known to be what `encoder` says.

  Raises:
    InputError: it is not, or one of its numbers is not finite.
  """
  column = files.read_column(path, "features")
  kind = pa.from_numpy_dtype(np.dtype(encoder.dtype))
  lists = column.combine_chunks()
  if column.type != pa.list_(kind, encoder.width) or lists.null_count:
    raise errors.InputError(
      f"{path}: column 'features': expected {encoder.width} {encoder.dtype} a "
      f"row, as {META} says; found {column.type}"
    )
  flat = lists.flatten()
  if flat.null_count:
    raise errors.InputError(f"{path}: expected no number to be missing")
  values = flat.to_numpy(zero_copy_only=False).reshape(len(lists), -1)
  number_checks.check_vectors(path, values)
  scale = _scale(path) if encoder.dtype == "int8" else None
  return quantise.Packed(values, scale)


def encoders(root: pathlib.Path) -> list[Encoder]:
  """All whose features are complete, by name of their folder.

  Raises:
    InputError: what is said of one is damaged, or of another folder.
  """
  found = []
  for file in sorted((root / FOLDER).glob(f"*/{META}")):
    encoder = read_encoder(file)
    # The folder's name is made of what the file says, and files go there.
    if encoder.folder != file.parent.name:
      raise errors.InputError(
        f"{file}: expected an encoder whose features lie in "
        f"{file.parent.name!r}, found {encoder.folder!r}"
      )
    found.append(encoder)
  return found


def read_encoder(file: pathlib.Path) -> Encoder:
  """What made the features of a folder.

  Raises:
    InputError: the file is missing or damaged.
  """
  try:
    return Encoder(**json.loads(file.read_text(encoding="utf-8")))
  except FileNotFoundError as e:
    raise errors.InputError(
      f"{file.parent}: expected a folder features/ENCODER of a prepared data "
      f"set, found no {file.name} in it"
    ) from e
  except (OSError, ValueError, TypeError, RecursionError) as e:
    raise errors.InputError(f"{file}: cannot be read: {e}") from e


def held(
  root: pathlib.Path, digest: str, mapped: bool, rows: int | None = None
) -> held_rows.HeldRows | None:
  """Features of all image rows by the encoder's digest; None: there are none.

  Args:
    root: folder of the data set.
    digest: of the encoder.
    mapped: whether a row is read when it is wanted. Parquet knows no single
      rows, so they are written once more to a plain file beside the parts: on
      disk they take twice the room.
    rows: of images; None: however many there are.

  Raises:
    InputError: that file cannot be written; or a file is damaged, or holds
      others than `rows` rows, or a number that is not finite; of a plain file
      that is there already this is not looked for.
  """
  for encoder in encoders(root):
    if encoder.digest == digest:
      folder = root / FOLDER / encoder.folder
      found = (
        _mapped(folder, encoder) if mapped else _in_memory(folder, encoder)
      )
      if rows is not None and len(found.values) != rows:
        raise errors.InputError(
          f"{folder}: expected features of {rows} images, found "
          f"{len(found.values)}"
        )
      return found
  return None


def some(
  root: pathlib.Path, digest: str, rows: Sequence[int]
) -> Float[np.ndarray, "n F"] | None:
  """Features of some image rows by the encoder's digest; None: there are none.

  Only the parts that hold them are read.

  Raises:
    InputError: a part is missing or damaged.
  """
  for encoder in encoders(root):
    if encoder.digest == digest:
      wanted = np.asarray(rows, np.int64)
      found = np.empty((len(wanted), encoder.width), np.float32)
      for part in np.unique(wanted // PART_ROWS).tolist():
        here = wanted // PART_ROWS == part
        path = _part(root / FOLDER / encoder.folder, part)
        packed, at = _packed(path, encoder), wanted[here] - part * PART_ROWS
        if at.max() >= len(packed.values):
          raise errors.InputError(
            f"{path}: expected {at.max() + 1} rows or more, found "
            f"{len(packed.values)}"
          )
        scale = None if packed.scale is None else packed.scale[at]
        found[here] = quantise.unpack(quantise.Packed(packed.values[at], scale))
      return found
  return None


def digests(root: pathlib.Path) -> UInt8[np.ndarray, "I 32"] | None:
  """SHA-256 of each row of the vectors made elsewhere; None: there are none.

  Raises:
    InputError: a part is damaged.
  """
  folder = root / FOLDER / PRECOMPUTED
  if not (folder / META).exists():
    return None
  encoder = read_encoder(folder / META)
  found = []
  for path in _paths(folder):
    rows = np.ascontiguousarray(quantise.unpack(_packed(path, encoder)))
    found += [hashlib.sha256(row.data).digest() for row in rows]
  return np.frombuffer(b"".join(found), np.uint8).reshape(-1, 32)


def _paths(folder: pathlib.Path) -> list[pathlib.Path]:
  found = sorted(folder.glob("part-*.parquet"))
  if not found:
    raise errors.InputError(f"{folder}: expected part-*.parquet, found none")
  return found


def _in_memory(folder: pathlib.Path, encoder: Encoder) -> held_rows.HeldRows:
  parts = [_packed(path, encoder) for path in _paths(folder)]
  scales = [part.scale for part in parts if part.scale is not None]
  values = np.concatenate([part.values for part in parts])
  return held_rows.HeldRows(values, np.concatenate(scales) if scales else None)


def _mapped(folder: pathlib.Path, encoder: Encoder) -> held_rows.HeldRows:
  parts = _paths(folder)
  values, scale = folder / "rows.npy", folder / "scale.npy"
  rows = sum(map(files.num_rows, parts))
  shape, dtype = (rows, encoder.width), np.dtype(encoder.dtype)
  number = np.dtype(np.float32)
  try:
    if encoder.dtype == "int8" and not scale.exists():
      held_rows.write(scale, map(_scale, parts), (rows,), number)
    if not values.exists():
      _packed(parts[0], encoder)  # Before room is made for all.
      blocks = (_packed(path, encoder).values for path in parts)
      held_rows.write(values, blocks, shape, dtype)
  except OSError as e:
    raise errors.InputError(
      f"{folder}: cannot be written ({e.strerror or e}); image.tier='file' "
      "needs the features as a plain file there"
    ) from e
  return held_rows.HeldRows(
    held_rows.mapped(values, shape, dtype),
    np.array(held_rows.mapped(scale, (rows,), number))
    if encoder.dtype == "int8"
    else None,
  )


def image_keys(root: pathlib.Path) -> list[str]:
  """Key of each image row; "" for row 0.

  From the pictures, else from vectors made elsewhere, else from the titles.
  """
  if (root / image_store.FOLDER).exists():
    return image_store.names(root / image_store.FOLDER)
  folder = root / FOLDER / PRECOMPUTED
  if not folder.exists() and title_file.exists(root):
    return title_file.keys(root)
  paths = sorted(folder.glob("part-*.parquet"))
  return [key for path in paths for key in files.read_texts(path, "key")]


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
