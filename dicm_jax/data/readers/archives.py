"""Tar files from anybody: read in order, bounded, never unpacked to disk.

A name in an archive is text and nothing else: no file is opened or made by it.
Links, devices and folders are passed over.
"""

from collections.abc import Iterator
import gzip
import pathlib
import tarfile
from typing import Any
import zlib

from dicm_jax.data import images

LARGEST = 2 * images.MAX_BYTES
"""Bytes that are read at a time, at most: a picture, or a header that says it
is longer than any name."""
RATIO, FREE = 100, 64 << 20
"""Bytes that a byte of the file may unpack to, at most, and those that any file
may unpack to. Pictures hardly shrink; gzip packs zeros a thousandfold."""

DAMAGED = (
  OSError,
  EOFError,
  zlib.error,
  tarfile.TarError,
  ValueError,
  RecursionError,
)
"""What is raised on an archive that is damaged, cut short or hostile."""


class _Bounded:
  """A file that gives so many bytes at a time, and so many altogether.

  Attributes:
    last: what was read last.
  """

  def __init__(self, file: Any, end: int):
    self._file, self._end = file, end
    self.last = b""

  def read(self, size: int = -1) -> bytes:
    if not 0 <= size <= LARGEST:
      raise tarfile.ReadError(f"a header or picture of {size} bytes")
    self._check(self._file.tell() + size)
    self.last = self._file.read(size)
    return self.last

  def seek(self, place: int) -> int:
    self._check(place)
    return self._file.seek(place)

  def tell(self) -> int:
    return self._file.tell()

  def _check(self, place: int) -> None:
    if place > self._end:
      raise tarfile.ReadError(
        f"it unpacks to more than {self._end:,} bytes, {RATIO} times its size; "
        "pictures do not shrink so"
      )


def members(
  path: pathlib.Path,
) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
  """All entries of a tar file, plain or of gzip, and the open file, in order.

  An entry can be read until the next one is asked for.

  Raises:
    One of `DAMAGED`; ReadError where no end is marked, or a header is damaged:
      tarfile takes either for the end.
  """
  with path.open("rb") as plain:
    packed = plain.read(2) == b"\x1f\x8b"
    plain.seek(0)
    end = FREE + RATIO * path.stat().st_size
    bounded = _Bounded(gzip.GzipFile(fileobj=plain) if packed else plain, end)
    last = -1
    with tarfile.TarFile(fileobj=bounded) as archive:  # pyright: ignore[reportArgumentType]
      while (member := archive.next()) is not None:
        if archive.offset <= last:
          raise tarfile.ReadError("an entry that ends before it begins")
        last = archive.offset
        # Else it remembers millions of them.
        archive.members = []  # pyright: ignore[reportAttributeAccessIssue]
        yield archive, member
    if len(bounded.last) < tarfile.BLOCKSIZE:
      raise tarfile.ReadError("no mark of the end")
    if any(bounded.last):
      raise tarfile.ReadError("a damaged header")
