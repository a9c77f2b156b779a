"""New pictures over HTTP: uploaded by key, or within a request for scores."""

from collections.abc import Iterator
import contextlib
import hashlib
from typing import Any

import fastapi

from dicm_jax import errors
from dicm_jax.serving import (
  answers,
  picture_request,
  picture_rows,
  picture_worker,
  request_schema,
)
from dicm_jax.serving import server as server_lib


def add(app: fastapi.FastAPI, server: server_lib.Server) -> None:
  """Adds what an application says of new pictures."""

  @app.post("/images/{key:path}", summary="Let later requests name a picture")
  async def upload(key: str, request: fastapi.Request) -> fastapi.Response:
    work = _upload(server, key, request)
    try:
      return await answers.within(server.limits.timeout_s, work)
    except answers.Refused as e:
      return e.response()

  _describe(app, server)


async def _upload(
  server: server_lib.Server, key: str, request: fastapi.Request
) -> fastapi.Response:
  """
  Raises:
    Refused: the picture is not kept.
  """
  serving, limits = server.current, server.limits
  most = request_schema.MAX_TEXT
  if not 0 < len(key) <= most or not key.isprintable():
    raise answers.Refused(422, f"key: expected 1 to {most} characters")
  if serving.worker.why_not:
    raise answers.Refused(422, serving.worker.why_not)
  with _turn(server):
    body = await answers.body(request, limits.picture_bytes)
    picture_request.checked("body", body, limits)
    digest = hashlib.sha256(body).hexdigest()
    if _is_known(serving, key, digest):
      return _answer(serving, key, 200)
    try:
      (vector,) = await serving.worker([body], ["body"])
    except errors.InputError as e:
      raise answers.Refused(422, str(e)) from e
  now = server.current  # Another may answer by now.
  if now.worker is not serving.worker:
    raise picture_worker.NotYet("another bundle has taken over")
  if _is_known(now, key, digest):
    return _answer(now, key, 200)
  try:
    now.rows.keep(key, digest, vector)
  except picture_rows.Full as e:
    raise answers.Refused(507, str(e)) from e
  return _answer(now, key, 201)


def _answer(serving, key: str, status: int) -> fastapi.Response:
  found = {"key": key, "bundle": serving.engine.bundle.digest}
  return answers.as_json(found, status)


def _is_known(serving, key: str, digest: str) -> bool:
  """Whether this picture was uploaded by this key.

  Raises:
    Refused: the key has another picture.
  """
  if key not in serving.engine.bundle.image_of:
    return False
  kept = serving.rows.kept.get(key)
  if kept is None or kept.digest != digest:
    reason = f"key: {key!r} has another picture; a delta changes it"
    raise answers.Refused(409, reason)
  return True


@contextlib.contextmanager
def _turn(server: server_lib.Server) -> Iterator[None]:
  """Bounds the uploads whose bodies lie in memory."""
  if server.uploading >= server.limits.pictures_waiting:
    raise picture_worker.NotYet(
      f"{server.uploading} pictures are being uploaded already"
    )
  server.uploading += 1
  try:
    yield
  finally:
    server.uploading -= 1


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
