"""Weights fetched on request: to a cache folder, over https, checked."""

import dataclasses
import hashlib
import http.client
import os
import pathlib
import re
import tempfile
from typing import BinaryIO
import urllib.error
import urllib.request

from dicm_jax import errors

_PIECE_BYTES = 1 << 20
_TIMEOUT_S = 60.0


_ALGORITHMS = {"md5": 32, "sha256": 64}
"""Names of digests in hashlib, and their hexadecimal digits."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
  """A published file and what it has to be."""

  url: str
  size_bytes: int
  digest: str
  """Hexadecimal digest, as its publisher gives it."""
  algorithm: str
  """md5 where its publisher gives no other, else sha256."""

  def __post_init__(self):
    if not self.url.startswith("https://"):
      raise errors.InputError(f"expected a URL https://..., found {self.url!r}")
    digits = _ALGORITHMS.get(self.algorithm, 0)
    if not re.fullmatch(f"[0-9a-f]{{{digits}}}", self.digest) or not digits:
      raise errors.InputError(
        f"{self.url}: expected a digest of {', '.join(_ALGORITHMS)}, found "
        f"{self.algorithm} {self.digest!r}"
      )

  @property
  def file_name(self) -> str:
    return self.url.rsplit("/", 1)[-1]


class _HttpsOnly(urllib.request.HTTPRedirectHandler):
  """Follows a redirect to another place, but not to one that anybody between
  could answer for."""

  def redirect_request(self, req, fp, code, msg, headers, newurl):
    if not newurl.startswith("https://"):
      raise urllib.error.URLError(f"redirected to {newurl}, which is not https")
    return super().redirect_request(req, fp, code, msg, headers, newurl)


def opener(
  *handlers: urllib.request.BaseHandler,
) -> urllib.request.OpenerDirector:
  """Opens URLs of https, and no other."""
  return urllib.request.build_opener(_HttpsOnly, *handlers)


def cache_dir() -> pathlib.Path:
  """Returns the folder for what can be fetched or computed again.

  It is `$XDG_CACHE_HOME/dicm_jax`, or `~/.cache/dicm_jax` where the variable
  is empty or not absolute (the XDG rule).
  """
  base = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
  if not base.is_absolute():
    base = pathlib.Path.home() / ".cache"
  return base / "dicm_jax"


def fetch(source: Source, folder: pathlib.Path) -> pathlib.Path:
  """Returns the file in `folder`, downloading it if it is not there intact.

  Args:
    source: what to fetch.
    folder: where it is kept; made if missing.

  Raises:
    errors.InputError: no connection, or what came is not the published file;
      nothing is left behind then.
  """
  path = folder / source.file_name
  if path.is_file() and _digest(path, source.algorithm) == source.digest:
    return path
  folder.mkdir(parents=True, exist_ok=True)
  handle, name = tempfile.mkstemp(dir=folder, suffix=".part")
  temporary = pathlib.Path(name)
  try:
    with os.fdopen(handle, "wb") as out:
      _copy(source, out)
    found = _digest(temporary, source.algorithm)
    if found != source.digest:
      raise errors.InputError(
        f"{source.url}: expected {source.algorithm} {source.digest}; found"
        f" {found}: the file was changed or cut short, and is not kept"
      )
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)
  return path


def _copy(source: Source, out: BinaryIO) -> None:
  """Writes the answer to `out`, no further than the published size."""
  request = urllib.request.Request(source.url, headers={"User-Agent": "dicm"})
  written = 0
  try:
    with opener().open(request, timeout=_TIMEOUT_S) as answer:
      while piece := answer.read(_PIECE_BYTES):
        written += len(piece)
        if written > source.size_bytes:
          raise errors.InputError(
            f"{source.url}: expected {source.size_bytes} bytes; found more"
          )
        out.write(piece)
  # URLError is an OSError; a broken transfer raises an HTTPException.
  except (OSError, http.client.HTTPException) as e:
    raise errors.InputError(
      f"{source.url}: cannot be downloaded ({e}); fetch it on another machine"
      " and give its path as the weights instead"
    ) from e


def _digest(path: pathlib.Path, algorithm: str) -> str:
  with path.open("rb") as file:
    return hashlib.file_digest(file, algorithm).hexdigest()
