"""What all of the server's paths share: reading a body, and saying no."""

import asyncio
from collections.abc import Awaitable, Iterator
import contextlib
import json
import logging
from typing import Any, NoReturn, TypeVar

import fastapi
from jaxtyping import Float
import numpy as np
import starlette.requests

from dicm_jax.serving import batcher as batcher_lib
from dicm_jax.serving import picture_worker, request_reader

_log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class Refused(Exception):
  """A request that is not answered.

  Args:
    status: of HTTP.
    reason: what the client has to change.
    retry_s: seconds after which it may be sent again; 0: that is of no use.
  """

  def __init__(self, status: int, reason: str, retry_s: int = 0):
    super().__init__(reason)
    self.status, self.reason, self.retry_s = status, reason, retry_s

  def response(self) -> fastapi.Response:
    headers = {"Retry-After": str(self.retry_s)} if self.retry_s else {}
    return as_json({"error": self.reason}, self.status, headers)


def as_json(
  answer: Any, status: int = 200, headers: dict[str, str] | None = None
) -> fastapi.Response:
  """A response; numbers that are not finite are an error."""
  text = json.dumps(answer, allow_nan=False)
  return fastapi.Response(text, status, headers, media_type="application/json")


def rounded(scores: Float[np.ndarray, " n"], decimals: int) -> list[float]:
  """Scores as they are answered.

  Raises:
    Refused: one is not finite.
  """
  if not np.isfinite(scores).all():
    raise Refused(422, "dense: the numbers overflow in the network")
  return np.round(scores.astype(float), decimals).tolist()


def expect_json(request: fastapi.Request) -> None:
  """Refuses other types of content."""
  kind = request.headers.get("content-type", "").partition(";")[0].strip()
  if kind.lower() != "application/json":
    raise Refused(415, "content-type: expected application/json")


async def body(request: fastapi.Request, most: int) -> bytes:
  """The whole body.

  Raises:
    Refused: it has more than `most` bytes, or says so.
  """
  too_large = Refused(413, f"body: expected at most {most} bytes")
  said = request.headers.get("content-length", "0")
  if not said.isdecimal() or len(said) > 18 or int(said) > most:
    raise too_large
  found = bytearray()
  async for chunk in request.stream():
    found += chunk
    if len(found) > most:
      raise too_large
  return bytes(found)


@contextlib.contextmanager
def turn(batcher: batcher_lib.Batcher, most: int) -> Iterator[None]:
  """Counts a request among those of a bundle that are in flight.

  Raises:
    Refused: there are `most` already.
  """
  if batcher.coming >= most:
    raise Refused(503, f"{most} requests wait already", retry_s=1)
  batcher.coming += 1
  try:
    yield
  finally:
    batcher.coming -= 1


async def within(limit_s: float, work: Awaitable[Answer]) -> Answer:
  """What the work comes to, if it does so in time.

  Raises:
    Refused: it does not, whatever the reason; one that is ours is logged.
  """
  try:
    async with asyncio.timeout(limit_s):
      return await work
  except Exception as e:
    _refuse(e, limit_s)


def _refuse(error: Exception, limit_s: float) -> NoReturn:
  if isinstance(error, Refused):
    raise error
  if isinstance(error, TimeoutError):
    raise Refused(504, f"no answer within {limit_s} s") from error
  if isinstance(error, picture_worker.NotYet):
    raise Refused(503, str(error), retry_s=5) from error
  if isinstance(error, request_reader.RequestError):
    raise Refused(422, str(error)) from error
  if isinstance(error, starlette.requests.ClientDisconnect):
    raise Refused(400, "body: cut off") from error
  _log.error("a request could not be answered", exc_info=error)
  reason = "the server could not answer it; see its log"
  raise Refused(500, reason) from error
