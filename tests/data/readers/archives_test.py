"""Tar files from anybody: nothing is unpacked, and little is read."""

import gzip
import io
import tarfile

import pytest

from dicm_jax import errors
from dicm_jax.data import image_store, source
from dicm_jax.data.readers import archives, pictures
from tests.data import logs

OUTSIDE = (
  "../../out.jpg",
  "/etc/absolute.jpg",
  "a/../../up.jpg",
  "C:\\windows.jpg",
  "nul\0byte.jpg",
  "n" * 2000 + ".jpg",
  "\x1b[2Jscreen.jpg",
)


def save(path, members, mode="w"):
  with tarfile.open(path, mode, format=tarfile.PAX_FORMAT) as archive:
    for member, data in members:
      member.size = len(data)
      archive.addfile(member, io.BytesIO(data))
  return path


def named(name: str, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
  member = tarfile.TarInfo(name)
  member.type, member.linkname = kind, "/etc/passwd"
  return member


def test_a_name_that_leads_elsewhere_is_a_key_and_no_path(tmp_path):
  members = [(named(name), logs.png(i)) for i, name in enumerate(OUTSIDE)]
  folder = tmp_path / "deep" / "in"
  folder.mkdir(parents=True)
  path = save(folder / "p.tar", members)
  found = pictures.open_pictures(path, source.Bad())
  keys = image_store.write(
    folder / "store", found, set(found.keys()), source.Bad()
  )
  assert keys[:3] == ["out", "absolute", "up"]
  assert len(keys) == len(OUTSIDE) - 1  # To tar a name ends at its NUL.
  assert [p.name for p in tmp_path.iterdir()] == ["deep"]
  assert [p.name for p in (tmp_path / "deep").iterdir()] == ["in"]
  assert sorted(p.name for p in folder.iterdir()) == ["p.tar", "store"]
  (part,) = (folder / "store").iterdir()
  assert part.name == "part-0000000000.parquet"


@pytest.mark.parametrize(
  "kind",
  [
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
    tarfile.DIRTYPE,
  ],
)
def test_what_is_no_file_is_passed_over(tmp_path, kind):
  members = [(named("k.jpg", kind), b""), (named("good.jpg"), logs.png(0))]
  found = pictures.open_pictures(save(tmp_path / "p.tar", members))
  assert list(found.keys()) == ["good"]
  assert dict(found.read({"k", "good"})) == {"good": logs.png(0)}


def test_the_first_of_two_of_a_name_counts(tmp_path):
  members = [(named("k.jpg"), logs.png(0)), (named("a/k.png"), logs.png(1))]
  path = save(tmp_path / "p.tar", members)
  with pytest.raises(errors.InputError, match=r"'k': occurs twice, first at"):
    pictures.open_pictures(path)
  found = pictures.open_pictures(path, source.Bad("skip"))
  assert dict(found.read({"k"})) == {"k": logs.png(0)}


@pytest.mark.parametrize("name", ["k.jpg", "notes.json"])
def test_what_unpacks_to_far_more_is_refused(tmp_path, monkeypatch, name):
  monkeypatch.setattr(archives, "FREE", 1 << 20)
  path = save(tmp_path / "p.tar.gz", [(named(name), bytes(9 << 20))], "w:gz")
  with pytest.raises(errors.InputError, match=r"unpacks to more than .* bytes"):
    pictures.open_pictures(path)


def test_pictures_that_shrink_a_little_are_none_of_that(tmp_path, monkeypatch):
  monkeypatch.setattr(archives, "FREE", 0)
  members = [(named("k.bmp"), logs.png(0) + bytes(4000))]
  path = save(tmp_path / "p.tar.gz", members, "w:gz")
  assert list(pictures.open_pictures(path).keys()) == ["k"]


def test_a_header_longer_than_any_name_is_refused(tmp_path):
  header = named("x", tarfile.XHDTYPE)
  header.size = archives.LARGEST + 1
  path = tmp_path / "p.tar.gz"
  path.write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT)))
  with pytest.raises(errors.InputError, match="a header or picture of"):
    pictures.open_pictures(path)


def test_other_packings_are_refused(tmp_path):
  path = save(tmp_path / "p.tar", [(named("k.jpg"), logs.png(0))], "w:xz")
  with pytest.raises(errors.InputError, match="damaged or cut short"):
    pictures.open_pictures(path)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_damaged_header_is_not_the_end(tmp_path, mode):
  members = [(named(f"k{i}.jpg"), logs.png(i)) for i in range(3)]
  data = bytearray(save(tmp_path / "p.tar", members).read_bytes())
  second = data.index(b"k1.jpg")
  data[second + 100 : second + 120] = b"x" * 20
  path = tmp_path / "d.tar.gz"
  path.write_bytes(gzip.compress(data) if mode == "w:gz" else data)
  with pytest.raises(errors.InputError, match=r"after 'k0\.jpg': .* a damaged"):
    pictures.open_pictures(path)
  bad = source.Bad("skip")
  assert list(pictures.open_pictures(path, bad).keys()) == ["k0"]
  assert bad.count == 1
