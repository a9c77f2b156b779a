"""Pictures that a request brings along, in place of names of known ones.

A candidate may have `picture`, base64 of a JPEG or PNG, in place of `image`,
and an entry of `user.behaviours` may be {"picture": ...}. They are taken out of
the body, and names stand in their place, before the request is read.
"""

import base64
import binascii
from collections.abc import Sequence
import json
from typing import Any, NamedTuple

from dicm_jax.serving.limits import Limits
from dicm_jax.serving.request_reader import RequestError

KEY = "picture"
_MARK = b'"picture"'
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


class Sent(NamedTuple):
  """A picture of a request."""

  place: str
  """Of the request, e.g. candidates.0.picture."""
  data: bytes
  container: Any
  """The list or dict that a name goes into,"""
  key: str | int
  """and where."""


def holds_any(body: bytes) -> bool:
  """Whether a body may bring pictures; quick, and seldom wrong."""
  return _MARK in body


def taken_out(body: bytes, limits: Limits) -> tuple[Any, list[Sent]]:
  """A request without its pictures, and the pictures.

  What else is wrong with it is left to the reader of requests.

  Raises:
    RequestError: a picture is none, too large, or one too many.
  """
  try:
    request = json.loads(body)
  except (ValueError, RecursionError) as e:
    raise RequestError("body: Invalid JSON") from e
  places = _places(request)
  if len(places) > limits.pictures:
    raise RequestError(
      f"{places[limits.pictures][0]}: expected at most {limits.pictures} "
      f"pictures in a request, found {len(places)}"
    )
  return request, [
    Sent(place, checked(place, _decoded(place, given), limits), container, key)
    for place, given, container, key in places
  ]


def named(request: Any, sent: Sequence[Sent], names: Sequence[str]) -> bytes:
  """The body with names in place of pictures."""
  for picture, name in zip(sent, names, strict=True):
    picture.container[picture.key] = name
  return json.dumps(request).encode()


def checked(place: str, data: bytes, limits: Limits) -> bytes:
  """The bytes of a picture, if they may be decoded.

  Raises:
    RequestError: too many, or neither JPEG nor PNG.
  """
  if len(data) > limits.picture_bytes:
    raise RequestError(
      f"{place}: expected at most {limits.picture_bytes} bytes, found "
      f"{len(data)}"
    )
  if not data.startswith(_SIGNATURES):
    raise RequestError(f"{place}: expected a JPEG or a PNG, found another file")
  return data


def _places(request: Any) -> list[tuple[str, Any, Any, str | int]]:
  """Where pictures stand: place, what is there, container and key."""
  found: list[tuple[str, Any, Any, str | int]] = []
  for number, ad in enumerate(_list(request, "candidates")):
    if isinstance(ad, dict) and KEY in ad:
      place = f"candidates.{number}.{KEY}"
      if ad.get("image") is not None:
        raise RequestError(f"{place}: expected it or image, found both")
      found.append((place, ad.pop(KEY), ad, "image"))
  user = request.get("user") if isinstance(request, dict) else None
  past = _list(user, "behaviours")
  for number, one in enumerate(past):
    if isinstance(one, dict) and set(one) == {KEY}:
      place = f"user.behaviours.{number}.{KEY}"
      found.append((place, one[KEY], past, number))
  return found


def _list(of: Any, key: str) -> list:
  found = of.get(key) if isinstance(of, dict) else None
  return found if isinstance(found, list) else []


def _decoded(place: str, given: Any) -> bytes:
  if not isinstance(given, str):
    raise RequestError(f"{place}: expected base64 text")
  try:
    return base64.b64decode(given, validate=True)
  except (binascii.Error, ValueError) as e:
    raise RequestError(f"{place}: expected base64 text: {e}") from e
