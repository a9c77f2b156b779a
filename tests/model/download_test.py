"""Downloads from a site of our own: kept only when they are as published."""

import dataclasses
import email.message
import hashlib
import io
import urllib.request
import urllib.response

import pytest

from dicm_jax import errors
from dicm_jax.model import backbone, download

CONTENT = b"weights" * 1000


URL = "https://example.org/models/weights.h5"


class Site(urllib.request.HTTPSHandler):
  """Answers in place of the net."""

  def __init__(self):
    super().__init__()
    self.content = CONTENT
    self.status, self.headers = 200, {}
    self.asked: list[str] = []

  def https_open(self, req):
    self.asked.append(req.full_url)
    headers = email.message.Message()
    for name, value in self.headers.items():
      headers[name] = value
    body = io.BytesIO(self.content)
    answer = urllib.response.addinfourl(
      body, headers, req.full_url, self.status
    )
    answer.msg = "as asked"
    return answer

  http_open = https_open  # Whoever asks without encryption is answered, too.


@pytest.fixture
def site(monkeypatch):
  site, real = Site(), download.opener
  monkeypatch.setattr(download, "opener", lambda: real(site))
  return site


@pytest.fixture
def published(site):
  return download.Source(
    url=URL,
    size_bytes=len(CONTENT),
    digest=hashlib.sha256(CONTENT).hexdigest(),
    algorithm="sha256",
  )


def test_file_is_fetched_once(tmp_path, site, published):
  path = download.fetch(published, tmp_path / "cache")
  assert path.read_bytes() == CONTENT
  assert site.asked == [URL]
  site.content = b"gone"
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
def test_wrong_content_is_refused_and_removed(
  tmp_path, site, published, served
):
  site.content = served
  with pytest.raises(errors.InputError, match="expected") as e:
    download.fetch(published, tmp_path / "cache")
  assert published.url in str(e.value)
  # What is too long is not read to its end.
  assert ("found more" in str(e.value)) == (len(served) > len(CONTENT))
  assert list((tmp_path / "cache").iterdir()) == []


def test_no_connection_says_what_to_do(tmp_path, published, monkeypatch):
  def unreachable(*_, **__):
    raise TimeoutError("timed out")

  monkeypatch.setattr(Site, "https_open", unreachable)
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


@pytest.mark.parametrize(
  "place", ["http://example.org/x", "ftp://example.org/x", "file:///etc/passwd"]
)
def test_redirect_away_from_https_is_refused(tmp_path, site, published, place):
  site.status, site.headers = 302, {"Location": place}
  with pytest.raises(errors.InputError, match="cannot be downloaded"):
    download.fetch(published, tmp_path / "cache")
  assert site.asked == [URL]
  assert list((tmp_path / "cache").iterdir()) == []


def test_redirect_within_https_is_followed(tmp_path, site, published):
  other = "https://mirror.example.org/weights.h5"
  answer = site.https_open

  def once(req):
    site.status = 302 if req.full_url == URL else 200
    site.headers = {"Location": other}
    return answer(req)

  site.https_open = once
  assert download.fetch(published, tmp_path).read_bytes() == CONTENT
  assert site.asked == [URL, other]


@pytest.mark.parametrize(
  "changes",
  [
    {"url": "http://example.org/weights.h5"},
    {"url": "file:///weights.h5"},
    {"algorithm": "crc32"},
    {"algorithm": "md5"},
    {"digest": ""},
    {"digest": "0" * 63 + "G"},
  ],
)
def test_source_without_https_and_digest_is_none(published, changes):
  with pytest.raises(errors.InputError, match="expected a"):
    dataclasses.replace(published, **changes)


def test_every_published_file_is_pinned():
  """MD5 alone where keras.applications publishes no other digest."""
  sources = {k: s.published for k, s in backbone.BACKBONES.items()}
  found = {k: s for k, s in sources.items() if s is not None}
  assert all(s.url.startswith("https://") for s in found.values())
  assert all(s.size_bytes > 0 for s in found.values())
  weak = {k for k, s in found.items() if s.algorithm == "md5"}
  assert weak == {"inception_v3", "vgg16"}
