"""Pictures from folders, tar and Parquet files; wrong ones are named."""

import io
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dicm_jax import errors
from dicm_jax.data import source
from dicm_jax.data.readers import pictures
from tests.data import logs

PICTURES = {f"k{i}": logs.png(i) for i in range(5)}


def folder(path):
  for i, (key, data) in enumerate(PICTURES.items()):
    place = path / f"{i % 2}"
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{key}.PNG").write_bytes(data)
  (path / "notes.txt").write_text("no picture")
  return path


def tar(path, mode="w"):
  with tarfile.open(path, mode) as archive:
    for key, data in PICTURES.items():
      for name, content in ((f"a/{key}.jpg", data), (f"a/{key}.json", b"{}")):
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
  return path


def parquet(path, *, struct=False):
  values = list(PICTURES.values())
  column = [{"bytes": v, "path": ""} for v in values] if struct else values
  pq.write_table(pa.table({"item_id": list(PICTURES), "image": column}), path)
  return path


def many(path, write):
  path.mkdir()
  write(path)
  return path


MAKERS = {
  "folder": lambda p: folder(p / "f"),
  "tar": lambda p: tar(p / "p.tar"),
  "tar.gz": lambda p: tar(p / "p.tar.gz", "w:gz"),
  "folder of tar": lambda p: many(p / "t", lambda t: tar(t / "0.tar")),
  "parquet": lambda p: parquet(p / "p.parquet"),
  "parquet of structs": lambda p: parquet(p / "p.parquet", struct=True),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_all_keys_and_the_wanted_pictures(tmp_path, kind):
  found = pictures.open_pictures(MAKERS[kind](tmp_path), source.Bad())
  keys = list(found.keys())
  assert sorted(keys) == sorted(PICTURES)
  wanted = {"k1", "k3", "elsewhere"}
  read = dict(found.read(wanted))
  assert read == {k: PICTURES[k] for k in ("k1", "k3")}
  assert list(read) == [k for k in keys if k in wanted]


def test_a_key_with_two_pictures_is_named(tmp_path):
  path = folder(tmp_path / "f")
  (path / "k1.jpg").write_bytes(b"")
  with pytest.raises(
    errors.InputError, match=r"f, k1\.jpg: .*first at f, 1/k1"
  ):
    list(pictures.open_pictures(path, source.Bad()).keys())


def test_a_damaged_tar_is_named(tmp_path):
  path = tar(tmp_path / "p.tar.gz", "w:gz")
  path.write_bytes(path.read_bytes()[:300])
  with pytest.raises(errors.InputError, match=r"p\.tar\.gz, after .*: damaged"):
    pictures.open_pictures(path, source.Bad())


def test_what_is_no_picture_source_is_named(tmp_path):
  (tmp_path / "x.zip").write_bytes(b"")
  (tmp_path / "empty").mkdir()
  pq.write_table(pa.table({"n": [1], "image": [b""]}), tmp_path / "n.parquet")
  for name, message in (
    ("nothing", "does not exist"),
    ("x.zip", "expected a folder of pictures"),
    ("empty", "found none"),
    ("n.parquet", "expected a column of keys"),
  ):
    with pytest.raises(errors.InputError, match=message):
      pictures.open_pictures(tmp_path / name, source.Bad())


def twice(path, kind):
  """Another picture of key k1 after the first."""
  if kind == "folder":
    made = folder(path / "f")
    (made / "z").mkdir()
    (made / "z" / "k1.jpg").write_bytes(b"other")
    return made
  if kind == "tar":
    made = path / "t"
    made.mkdir()
    for name in ("0.tar", "1.tar"):
      tar(made / name)
    return made
  table = pq.read_table(parquet(path / "p.parquet"))
  other = pa.table({"item_id": ["k1", None], "image": [b"other", b"x"]})
  pq.write_table(pa.concat_tables([table, other]), path / "p.parquet")
  return path / "p.parquet"


@pytest.mark.parametrize(
  ("kind", "count"), [("folder", 1), ("tar", 5), ("parquet", 2)]
)
def test_of_a_repeated_key_the_first_counts_when_skipping(
  tmp_path, kind, count
):
  path = twice(tmp_path, kind)
  with pytest.raises(errors.InputError, match="occurs twice, first at"):
    pictures.open_pictures(path, source.Bad())
  bad = source.Bad("skip")
  found = pictures.open_pictures(path, bad)
  for _ in range(2):
    assert sorted(found.keys()) == sorted(PICTURES)
    assert dict(found.read(set(PICTURES))) == PICTURES
  assert bad.count == count


@pytest.mark.parametrize("size", [2000, 2048, 2300, 2600])
def test_a_damaged_tar_counts_up_to_there_when_skipping(tmp_path, size):
  """Cut in a file's content, before a header, in one, and in a picture."""
  path = tar(tmp_path / "p.tar")
  path.write_bytes(path.read_bytes()[:size])
  bad = source.Bad("skip")
  found = pictures.open_pictures(path, bad)
  assert next(found.keys()) == "k0"
  assert dict(found.read(set(PICTURES))) == {"k0": PICTURES["k0"]}
  assert bad.count == 1


def test_a_folder_with_a_pictures_name_is_none(tmp_path):
  path = folder(tmp_path / "f")
  (path / "k9.png").mkdir()
  assert "k9" not in set(pictures.open_pictures(path).keys())


def test_avif_is_a_picture(tmp_path):
  (tmp_path / "k.avif").write_bytes(b"")
  assert list(pictures.open_pictures(tmp_path).keys()) == ["k"]


@pytest.mark.parametrize(
  ("data", "message"),
  [
    (None, "cannot be read"),
    ({"id": ["a"], "image": ["text"]}, "'image': expected bytes, found string"),
    ({"id": [["a"]], "image": [b"x"]}, "'id': expected keys as text or numb"),
  ],
)
def test_parquet_without_pictures_is_named(tmp_path, data, message):
  path = tmp_path / "p.parquet"
  pq.write_table(pa.table(data), path) if data else path.write_bytes(b"PAR1")
  with pytest.raises(errors.InputError, match=message):
    pictures.open_pictures(path)
