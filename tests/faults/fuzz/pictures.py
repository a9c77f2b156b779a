"""Pictures, and the archives and tables that hold them, made wrong."""

import gzip
import io
import pathlib
import struct
import tarfile
import tempfile
import zlib

from PIL import Image
import pyarrow as pa
import pyarrow.parquet as pq

from dicm_jax.data import image_store, images, source
from dicm_jax.data.readers import pictures
from tests.data import hostile_images_test, logs
from tests.data.readers import pictures_test
from tests.faults.fuzz import judge

_NAMED = {
  kind: f"{kind.replace(' ', '-')}.bin" for kind in hostile_images_test.KINDS
}


def decoded(path: pathlib.Path) -> None:
  """As `prepare` checks a picture and as training decodes it."""
  for size in (8, 64):
    images.decode(path.read_bytes(), name=path.name, size=size)


def sizes(path: pathlib.Path) -> None:
  """Only what was decoded is asked for its size."""
  decoded(path)
  images.upright_size(path.read_bytes())


def _avif() -> dict[str, bytes]:
  file = io.BytesIO()
  try:
    Image.new("RGB", (24, 16), (9, 99, 200)).save(file, "AVIF")
  except (KeyError, OSError):  # Builds of Pillow may lack it.
    return {}
  return {"avif.bin": file.getvalue()}


def _claims() -> dict[str, bytes]:
  """Small files of pictures that say they are huge."""
  huge = 100_000
  gif = bytearray(hostile_images_test.KINDS["palette gif"]())
  gif[6:10] = struct.pack("<HH", 65_535, 65_535)
  bmp = bytearray(hostile_images_test.KINDS["bmp"]())
  bmp[18:26] = struct.pack("<ii", 2**31 - 1, 2**31 - 1)
  return {
    "claim.png": hostile_images_test.png_of(huge, huge, b""),
    "zeros.png": hostile_images_test.png_of(
      huge, huge, hostile_images_test.zeros(1 << 26)
    ),
    "text.png": hostile_images_test.text_bomb(),
    "claim.gif": bytes(gif),
    "claim.bmp": bytes(bmp),
    "long.png": hostile_images_test.png_of(
      1, 2**31 - 1, zlib.compress(bytes(2))
    ),
  }


def stored(path: pathlib.Path, policy: str = "stop") -> None:
  """From the source into the store, as `prepare` does it."""
  bad = source.Bad(policy)
  found = pictures.open_pictures(path, bad)
  with tempfile.TemporaryDirectory(dir=path.parent) as out:
    folder = pathlib.Path(out) / "images"
    keys = image_store.write(folder, found, set(found.keys()), bad)
    assert list(image_store.names(folder))[1:] == keys
    made = [p.relative_to(out) for p in pathlib.Path(out).rglob("*")]
    assert {p.parts[0] for p in made} <= {"images"}


def skipped(path: pathlib.Path) -> None:
  stored(path, "skip")


def _archives() -> dict[str, bytes]:
  with tempfile.TemporaryDirectory() as place:
    folder = pathlib.Path(place)
    plain = pictures_test.tar(folder / "p.tar")
    packed = pictures_test.tar(folder / "p.tar.gz", "w:gz")
    return {p.name: p.read_bytes() for p in (plain, packed)}


def _pax(size: int) -> bytes:
  """Header of an extended header of so many bytes."""
  member = tarfile.TarInfo("PaxHeaders/x")
  member.type, member.size = tarfile.XHDTYPE, size
  return member.tobuf(tarfile.GNU_FORMAT)


def _member(size: int, name: str = "k.jpg") -> bytes:
  member = tarfile.TarInfo(name)
  member.size = size
  return member.tobuf(tarfile.GNU_FORMAT)


def _zeros(megabytes: int) -> bytes:
  """Some, packed a thousandfold."""
  return gzip.compress(bytes(16 << 20), 9) * (megabytes // 16)


def _bombs() -> dict[str, bytes]:
  head = gzip.compress
  return {
    "member.tar.gz": head(_member(60 << 30)) + _zeros(4096),
    "other.tar.gz": head(_member(60 << 30, "x.json")) + _zeros(4096),
    "header.tar.gz": head(_pax(7 << 30)) + _zeros(4096),
    "cut-header.tar": _pax(7 << 30) + bytes(1024),
    "minus.tar": _member(-1024) + bytes(1024),
    "many.tar.gz": head(_member(0, "x.json")) * 1500,
  }


def _tables() -> dict[str, bytes]:
  with tempfile.TemporaryDirectory() as place:
    folder = pathlib.Path(place)
    one = pictures_test.parquet(folder / "p.parquet")
    two = pictures_test.parquet(folder / "s.parquet", struct=True)
    return {p.name: p.read_bytes() for p in (one, two)}


def _odd_tables() -> dict[str, bytes]:
  tables = {
    "null.parquet": {"key": ["a", None], "image": [None, b"x"]},
    "bytes.parquet": {"key": [b"\xff"], "image": [logs.png(0)]},
    "floats.parquet": {"key": [0.5], "image": [logs.png(0)]},
    "paths.parquet": {
      "key": ["../../x", "/etc/passwd", "a\0b", "n" * 100_000, "\x1b[2J"],
      "image": [logs.png(i) for i in range(5)],
    },
  }
  out = {}
  for name, columns in tables.items():
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    out[name] = file.getvalue()
  return out


def targets() -> dict[str, judge.Target]:
  files = {
    _NAMED[kind]: make() for kind, make in hostile_images_test.KINDS.items()
  }
  return {
    "picture": judge.Target(
      files=files | _avif(),
      reads=(decoded, sizes),
      wrong=_claims(),
    ),
    "tar": judge.Target(
      files=_archives(),
      reads=(stored, skipped),
      wrong=_bombs(),
      place=lambda path: "",
    ),
    "picture table": judge.Target(
      files=_tables(),
      reads=(stored, skipped),
      wrong=_odd_tables(),
      place=lambda path: "",
    ),
  }
