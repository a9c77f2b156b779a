"""Encoded pictures by key, from a folder, tar files or Parquet files."""

from collections.abc import Collection, Iterable, Iterator
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq

from dicm_jax import errors
from dicm_jax.data import images, source
from dicm_jax.data.readers import archives

SUFFIXES = (
  ".jpg",
  ".jpeg",
  ".png",
  ".webp",
  ".gif",
  ".bmp",
  ".tif",
  ".tiff",
  ".avif",
)
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
KEY_COLUMNS = ("image_id", "item_id", "article_id", "asin", "key", "id")
BYTES_COLUMNS = ("image", "bytes", "jpg", "picture", "data")
_BATCH, _BATCH_BYTES = 64, 16 << 20
"""Pictures of a Parquet file read at a time, and their bytes about, at most."""
_BUFFER_BYTES = 1 << 20
"""Of a Parquet file at a time: without, a group of rows is read as a whole."""
_MOST = images.MAX_BYTES + 1
"""Bytes of a picture that are read, at most: decoding refuses so many."""

Place = tuple[str, pathlib.Path, str]
"""A key, and the file and place in it where it stands."""


def open_pictures(
  path: pathlib.Path, bad: source.Bad | None = None
) -> source.Pictures:
  """Opens a folder of pictures, or tar or Parquet files, and lists the keys.

  Args:
    path: of the folder or file.
    bad: is told of keys that occur twice, the first of which counts, and of
      damaged archives, which count up to there; None: such a thing stops.

  Raises:
    InputError: the path is none of these, or something is wrong and `bad` says
      stop.
  """
  bad = bad or source.Bad()
  if not path.exists():
    raise errors.InputError(f"--images: {path} does not exist")
  if path.is_file():
    return _shards((path,), bad)
  shards = [p for p in sorted(path.iterdir()) if _is_shard(p)]
  return _shards(tuple(shards), bad) if shards else Folder(path, bad)


def _is_shard(path: pathlib.Path) -> bool:
  return path.name.endswith((*TAR_SUFFIXES, ".parquet")) and path.is_file()


def _shards(
  paths: tuple[pathlib.Path, ...], bad: source.Bad
) -> source.Pictures:
  if all(p.name.endswith(TAR_SUFFIXES) for p in paths):
    return Tar(paths, bad)
  if all(p.name.endswith(".parquet") for p in paths):
    return Table(paths, bad)
  raise errors.InputError(
    f"--images: {paths[0]}: expected a folder of pictures, or files that all "
    f"end with {', '.join(TAR_SUFFIXES)}, or all with .parquet"
  )


def distinct(places: Iterable[Place], bad: source.Bad) -> list[str]:
  """The keys in order; of one that occurs twice, the first place."""
  seen: dict[str, str] = {}
  for key, path, where in places:
    if not key:
      bad.report(path, where, "expected an image key, found none")
    elif not _is_text(key):
      bad.report(path, where, f"expected a name in UTF-8, found {key!r}")
    elif key in seen:
      what = f"image key {key!r}: occurs twice, first at {seen[key]}"
      bad.report(path, where, what)
    else:
      seen[key] = f"{path.name}, {where}"
  return list(seen)


def _is_text(key: str) -> bool:
  """Whether it is more than bytes: no other keys can be stored."""
  try:
    key.encode()
  except UnicodeEncodeError:
    return False
  return True


class Folder:
  """Picture files, folders within included; the key is the bare name."""

  def __init__(self, path: pathlib.Path, bad: source.Bad):
    found = (p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES)
    self._paths = sorted(
      (p for p in found if p.is_file()),
      key=lambda p: p.relative_to(path).as_posix(),
    )
    if not self._paths:
      raise errors.InputError(
        f"--images: {path}: expected pictures ({', '.join(SUFFIXES)}), or "
        ".tar or .parquet files; found none"
      )
    self._keys = distinct(
      ((p.stem, path, p.relative_to(path).as_posix()) for p in self._paths), bad
    )

  def keys(self) -> Iterator[str]:
    return iter(self._keys)

  def read(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    left = set(self._keys).intersection(wanted)
    for path in self._paths:
      if path.stem in left:
        left.remove(path.stem)
        try:
          with path.open("rb") as file:
            data = file.read(_MOST)
        except OSError as e:
          raise errors.InputError(f"{path}: {e.strerror}") from e
        yield path.stem, data


class Tar:
  """Tar files in the layout of webdataset: the key ends at the first dot."""

  def __init__(self, paths: tuple[pathlib.Path, ...], bad: source.Bad):
    self._paths = paths
    members = self._members(bad)
    self._keys = distinct(
      (
        (_tar_key(member.name), path, member.name)
        for path, _, member in members
      ),
      bad,
    )

  def keys(self) -> Iterator[str]:
    return iter(self._keys)

  def read(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    left = set(self._keys).intersection(wanted)
    # What is damaged has been reported already.
    for _, archive, member in self._members(source.Bad("skip")):
      key = _tar_key(member.name)
      if key in left:
        left.remove(key)
        file = archive.extractfile(member)
        assert file is not None  # It is a regular file.
        try:
          data = file.read(_MOST)
        except archives.DAMAGED:
          continue
        yield key, data
        if not left:
          return

  def _members(self, bad: source.Bad) -> Iterator:
    """All pictures in order, each while its archive is open."""
    for path in self._paths:
      last = "the beginning"
      try:
        for archive, member in archives.members(path):
          last = repr(member.name)
          name = member.name.lower()
          if member.isfile() and name.endswith(SUFFIXES):
            yield path, archive, member
      except archives.DAMAGED as e:
        what = f"damaged or cut short tar file: {' '.join(str(e).split())}"
        bad.report(path, f"after {last}", what)


def _tar_key(name: str) -> str:
  return pathlib.PurePosixPath(name).name.partition(".")[0]


class Table:
  """Parquet files with a column of keys and one of encoded pictures."""

  def __init__(self, paths: tuple[pathlib.Path, ...], bad: source.Bad):
    self._paths = paths
    names = [open_parquet(path).schema_arrow.names for path in paths]
    self._key = first_of(KEY_COLUMNS, names[0], paths[0], "keys")
    self._bytes = first_of(BYTES_COLUMNS, names[0], paths[0], "pictures")
    for path in paths:
      _check_pictures(path, self._key, self._bytes)
    self._keys = distinct(self._places(), bad)

  def _places(self) -> Iterator[Place]:
    for path in self._paths:
      for row, key in enumerate(parquet_keys(path, self._key)):
        yield key, path, f"row {row}"

  def keys(self) -> Iterator[str]:
    return iter(self._keys)

  def read(self, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    left = set(self._keys).intersection(wanted)
    for path in self._paths:
      rows = _batch_rows(open_parquet(path).metadata)
      for batch in batches(path, rows, [self._key, self._bytes]):
        keys = batch[self._key].cast(pa.string()).to_pylist()
        for row, key in enumerate(keys):
          if key in left:
            left.remove(key)
            yield key, _encoded(batch[self._bytes][row].as_py())


def _check_pictures(path: pathlib.Path, key: str, column: str) -> None:
  found = open_parquet(path).schema_arrow
  for name in (key, column):
    first_of((name,), found.names, path, "keys and one of pictures")
  kind = found.field(column).type
  if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
    kind = kind.field("bytes").type
  if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
    raise errors.InputError(
      f"{path}: column {column!r}: expected bytes, found {kind}"
    )


def open_parquet(path: pathlib.Path) -> pq.ParquetFile:
  """Opens a file to be read through a small buffer, not by whole columns.

  Raises:
    InputError: it is no Parquet file.
  """
  try:
    return pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False)
  except (OSError, UnicodeDecodeError, pa.ArrowException) as e:
    raise errors.InputError(f"{path}: cannot be read: {e}") from e


def parquet_keys(path: pathlib.Path, column: str) -> list[str]:
  """A column of keys as text; "" where there is none.

  Raises:
    InputError: they are no text or numbers.
  """
  try:
    found = open_parquet(path).read(columns=[column])[column]
    keys = found.cast(pa.string()).to_pylist()
  except (OSError, UnicodeDecodeError, pa.ArrowException) as e:
    raise errors.InputError(
      f"{path}: column {column!r}: expected keys as text or numbers: {e}"
    ) from e
  return [key or "" for key in keys]


def batches(
  path: pathlib.Path, rows: int, columns: list[str]
) -> Iterator[pa.RecordBatch]:
  """Some columns of a file, some rows at a time.

  Raises:
    InputError: it is damaged.
  """
  try:
    yield from open_parquet(path).iter_batches(rows, columns=columns)
  except (OSError, UnicodeDecodeError, pa.ArrowException) as e:
    raise errors.InputError(f"{path}: cannot be read: {e}") from e


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
