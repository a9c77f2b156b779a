"""New pictures over HTTP: uploaded by key, or within a request for scores."""

import asyncio
from collections.abc import AsyncIterator
import contextlib
import hashlib
from typing import Any

import fastapi
from fastapi import responses
import starlette.requests

from dicm_jax import errors
from dicm_jax.serving import picture_request, request_schema
from dicm_jax.serving import server as server_lib
from dicm_jax.serving.picture_rows import Full
from dicm_jax.serving.picture_worker import NotYet
from dicm_jax.serving.request_reader import RequestError


def add(app: fastapi.FastAPI, server: server_lib.Server) -> None:
  """Adds what an application says of new pictures."""

  @app.post("/images/{key:path}", summary="Let later requests name a picture")
  async def upload(key: str, request: fastapi.Request) -> fastapi.Response:
    try:
      async with asyncio.timeout(server.limits.timeout_s):
        status, answer = await _upload(server, key, request)
    except NotYet as e:
      again = {"Retry-After": "5"}
      return responses.JSONResponse({"error": str(e)}, 503, again)
    except TimeoutError:
      status, answer = 504, f"no answer within {server.limits.timeout_s} s"
    except starlette.requests.ClientDisconnect:
      status, answer = 400, "body: cut off"
    except Full as e:
      status, answer = 507, str(e)
    except (RequestError, errors.InputError) as e:
      status, answer = 422, str(e)
    if isinstance(answer, str):
      answer = {"error": answer}
    return responses.JSONResponse(answer, status)

  _describe(app, server)


async def _upload(
  server: server_lib.Server, key: str, request: fastapi.Request
) -> tuple[int, Any]:
  """Status and answer; text is what is wrong."""
  serving, limits = server.current, server.limits
  if not 0 < len(key) <= request_schema.MAX_TEXT or not key.isprintable():
    return 422, f"key: expected 1 to {request_schema.MAX_TEXT} characters"
  if serving.worker.why_not:
    return 422, serving.worker.why_not
  async with _turn(server):
    body = await _body(request, limits.picture_bytes)
    if body is None:
      return 413, f"body: expected at most {limits.picture_bytes} bytes"
    picture_request.checked("body", body, limits)
    digest = hashlib.sha256(body).hexdigest()
    known = _known(serving, key, digest)
    if known is not None:
      return known
    (vector,) = await serving.worker([body], ["body"])
  now = server.current  # Another may answer by now.
  if now.worker is not serving.worker:
    raise NotYet("another bundle has taken over")
  known = _known(now, key, digest)
  if known is None:
    now.rows.keep(key, digest, vector)
    known = 201, {"key": key, "bundle": now.engine.bundle.digest}
  return known


def _known(serving, key: str, digest: str) -> tuple[int, Any] | None:
  """The answer for a key that has a picture; None: it has none."""
  if key not in serving.engine.bundle.image_of:
    return None
  kept = serving.rows.kept.get(key)
  if kept is not None and kept.digest == digest:
    return 200, {"key": key, "bundle": serving.engine.bundle.digest}
  return 409, f"key: {key!r} has another picture; a delta changes it"


@contextlib.asynccontextmanager
async def _turn(server: server_lib.Server) -> AsyncIterator[None]:
  """Bounds the uploads whose bodies lie in memory."""
  if server.uploading >= server.limits.pictures_waiting:
    raise NotYet(f"{server.uploading} pictures are being uploaded already")
  server.uploading += 1
  try:
    yield
  finally:
    server.uploading -= 1


async def _body(request: fastapi.Request, most: int) -> bytes | None:
  """The whole body; None: there is too much of it."""
  body = bytearray()
  async for chunk in request.stream():
    body += chunk
    if len(body) > most:
      return None
  return bytes(body)


def _describe(app: fastapi.FastAPI, server: server_lib.Server) -> None:
  """Tells the API's page of pictures within requests for scores."""
  plain = app.openapi

  def openapi() -> dict[str, Any]:
    made = plain()
    upload = made["paths"]["/images/{key}"]["post"]
    any_bytes = {"schema": {"type": "string", "format": "binary"}}
    upload["requestBody"] = {
      "required": True,
      "content": {"image/jpeg": any_bytes, "image/png": any_bytes},
    }
    parts = made["components"]["schemas"]
    if not server.current.worker.why_not and "Candidate" in parts:
      parts["Candidate"]["properties"][picture_request.KEY] = {
        "type": "string",
        "format": "byte",
        "description": "In place of image: a JPEG or PNG in base64",
      }
    return made

  app.openapi = openapi
