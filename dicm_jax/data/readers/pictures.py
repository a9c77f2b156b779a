"""Encoded pictures by key, from a folder, tar files or Parquet files."""

from collections.abc import Collection, Iterator
import pathlib
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq

from dicm_jax import errors
from dicm_jax.data import images, source

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
KEY_COLUMNS = ("image_id", "item_id", "article_id", "asin", "key", "id")
BYTES_COLUMNS = ("image", "bytes", "jpg", "picture", "data")
_BATCH, _BATCH_BYTES = 64, 16 << 20
"""Pictures of a Parquet file read at a time, and their bytes about, at most."""
_BUFFER_BYTES = 1 << 20
"""Of a Parquet file at a time: without, a group of rows is read as a whole."""


def open_pictures(path: pathlib.Path) -> source.Pictures:
  """Opens a folder of pictures, or tar or Parquet files.

  Raises:
    InputError: the path is none of these.
  """
  if not path.exists():
    raise errors.InputError(f"--images: {path} does not exist")
  if path.is_file():
    return _shards((path,))
  shards = [p for p in sorted(path.iterdir()) if _is_shard(p)]
  return _shards(tuple(shards)) if shards else Folder(path)


def _is_shard(path: pathlib.Path) -> bool:
  return path.name.endswith((*TAR_SUFFIXES, ".parquet"))


def _shards(paths: tuple[pathlib.Path, ...]) -> source.Pictures:
  if all(p.name.endswith(TAR_SUFFIXES) for p in paths):
    return Tar(paths)
  if all(p.name.endswith(".parquet") for p in paths):
    return Table(paths)
  raise errors.InputError(
    f"--images: {paths[0]}: expected a folder of pictures, or files that all "
    f"end with {', '.join(TAR_SUFFIXES)}, or all with .parquet"
  )


def unique(places: Iterator[tuple[str, str]]) -> Iterator[str]:
  """Keys of (key, place); says where a key stands twice."""
  seen: dict[str, str] = {}
  for key, place in places:
    if key in seen:
      raise errors.InputError(
        f"image key {key!r} stands for two pictures: {seen[key]} and {place}"
      )
    seen[key] = place
    yield key


class Folder:
  """Picture files, folders within included; the key is the bare name."""

  def __init__(self, path: pathlib.Path):
    found = (p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
    self._paths = sorted(found, key=lambda p: p.relative_to(path).as_posix())
    if not self._paths:
      raise errors.InputError(
        f"--images: {path}: expected pictures ({', '.join(SUFFIXES)}), or "
        ".tar or .parquet files; found none"
      )

  def keys(self) -> Iterator[str]:
    return unique((p.stem, str(p)) for p in self._paths)

  def read(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    for path in self._paths:
      if path.stem in wanted:
        with path.open("rb") as file:  # One byte more is refused as too large.
          yield path.stem, file.read(images.MAX_BYTES + 1)


class Tar:
  """Tar files in the layout of webdataset: the key ends at the first dot."""

  def __init__(self, paths: tuple[pathlib.Path, ...]):
    self._paths = paths

  def keys(self) -> Iterator[str]:
    return unique(
      (_tar_key(member.name), f"{path}: {member.name}")
      for path, _, member in self._members()
    )

  def read(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    for path, archive, member in self._members():
      key = _tar_key(member.name)
      if key in wanted:
        file = archive.extractfile(member)
        assert file is not None  # It is a regular file.
        try:
          data = file.read(images.MAX_BYTES + 1)
        except (OSError, EOFError, tarfile.TarError) as e:
          raise errors.InputError(f"{path}: {member.name}: {e}") from e
        yield key, data

  def _members(self) -> Iterator:
    """All pictures in order, each while its archive is open."""
    for path in self._paths:
      last = "the beginning"
      try:
        with tarfile.open(path, "r:*") as archive:
          for member in archive:
            last = member.name
            name = member.name.lower()
            if member.isfile() and name.endswith(SUFFIXES):
              yield path, archive, member
      except (OSError, EOFError, tarfile.TarError) as e:
        raise errors.InputError(
          f"{path}: damaged or cut short tar file, after {last}: {e}"
        ) from e


def _tar_key(name: str) -> str:
  return pathlib.PurePosixPath(name).name.partition(".")[0]


class Table:
  """Parquet files with a column of keys and one of encoded pictures."""

  def __init__(self, paths: tuple[pathlib.Path, ...]):
    self._paths = paths
    names = pq.ParquetFile(paths[0]).schema_arrow.names
    self._key = first_of(KEY_COLUMNS, names, paths[0], "keys")
    self._bytes = first_of(BYTES_COLUMNS, names, paths[0], "pictures")

  def keys(self) -> Iterator[str]:
    return unique(
      (key, f"{path}, row {row}")
      for path in self._paths
      for row, key in enumerate(
        pq.read_table(path, columns=[self._key])[self._key]
        .cast(pa.string())
        .to_pylist()
      )
      if key is not None
    )

  def read(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    for path in self._paths:
      file = pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False)
      batches = file.iter_batches(
        _batch_rows(file.metadata), columns=[self._key, self._bytes]
      )
      for batch in batches:
        keys = batch[self._key].cast(pa.string()).to_pylist()
        for row, key in enumerate(keys):
          if key in wanted:
            yield key, _encoded(batch[self._bytes][row].as_py())


def _batch_rows(metadata: pq.FileMetaData) -> int:
  groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
  row = max(
    (g.total_byte_size // max(g.num_rows, 1) for g in groups), default=1
  )
  return min(max(_BATCH_BYTES // max(row, 1), 1), _BATCH)


def _encoded(value: bytes | dict | None) -> bytes:
  """A picture's bytes, also from a struct {bytes, path}."""
  if isinstance(value, dict):
    value = value.get("bytes")
  return value or b""


def first_of(known: tuple[str, ...], names, path, what: str) -> str:
  for name in known:
    if name in names:
      return name
  raise errors.InputError(
    f"{path}: expected a column of {what} ({', '.join(known)}), found "
    f"{', '.join(names)}"
  )
