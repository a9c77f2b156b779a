"""Downloads from local files: kept only when they are what was published."""

import hashlib

import pytest

from dicm_jax import errors
from dicm_jax.model import download

CONTENT = b"weights" * 1000


@pytest.fixture
def published(tmp_path):
  (tmp_path / "site").mkdir()
  file = tmp_path / "site" / "weights.h5"
  file.write_bytes(CONTENT)
  return download.Source(
    url=file.as_uri(),
    size_bytes=len(CONTENT),
    digest=hashlib.md5(CONTENT).hexdigest(),
    algorithm="md5",
  )


def _served(source):
  return open(source.url.removeprefix("file://"), "wb")


def test_file_is_fetched_once(tmp_path, published):
  path = download.fetch(published, tmp_path / "cache")
  assert path.read_bytes() == CONTENT
  with _served(published) as file:
    file.write(b"gone")
  assert download.fetch(published, tmp_path / "cache") == path
  assert path.read_bytes() == CONTENT


def test_damaged_cached_file_is_fetched_again(tmp_path, published):
  path = download.fetch(published, tmp_path / "cache")
  path.write_bytes(b"damaged")
  download.fetch(published, tmp_path / "cache")
  assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
  "served", [CONTENT[:-1], b"x" + CONTENT[1:], CONTENT + b"x", b""]
)
def test_wrong_content_is_refused_and_removed(tmp_path, published, served):
  with _served(published) as file:
    file.write(served)
  with pytest.raises(errors.InputError, match="expected") as e:
    download.fetch(published, tmp_path / "cache")
  assert published.url in str(e.value)
  # What is too long is not read to its end.
  assert ("found more" in str(e.value)) == (len(served) > len(CONTENT))
  assert list((tmp_path / "cache").iterdir()) == []


def test_no_connection_says_what_to_do(tmp_path, published, monkeypatch):
  def unreachable(*_, **__):
    raise TimeoutError("timed out")

  monkeypatch.setattr("urllib.request.urlopen", unreachable)
  with pytest.raises(errors.InputError, match="give its path"):
    download.fetch(published, tmp_path / "cache")
  assert list((tmp_path / "cache").iterdir()) == []


def test_cache_folder_follows_xdg(monkeypatch, tmp_path):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  assert download.cache_dir() == tmp_path / "dicm_jax"
  monkeypatch.setenv("HOME", str(tmp_path / "home"))
  for unset in ("", "relative/folder"):
    monkeypatch.setenv("XDG_CACHE_HOME", unset)
    assert download.cache_dir() == tmp_path / "home" / ".cache" / "dicm_jax"
