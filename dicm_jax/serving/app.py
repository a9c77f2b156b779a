"""The score server's HTTP: paths, limits, and how it says no."""

import asyncio
from collections.abc import AsyncIterator
import contextlib
import json
import logging
from typing import Any

import fastapi
from fastapi import responses
import numpy as np
import starlette.requests

from dicm_jax import errors
from dicm_jax.serving import (
  explore_api,
  match_api,
  picture_worker,
  pictures_api,
  request_reader,
  telemetry,
)
from dicm_jax.serving import explorer as explorer_lib
from dicm_jax.serving import server as server_lib

_log = logging.getLogger(__name__)


class _Refused(Exception):
  """A request that is not scored.

  Args:
    status: of HTTP.
    reason: what the client has to change.
  """

  def __init__(self, status: int, reason: str):
    super().__init__(reason)
    self.status, self.reason = status, reason


def make(
  server: server_lib.Server,
  watch_s: float = 0.0,
  explorer: explorer_lib.Explorer | None = None,
) -> fastapi.FastAPI:
  """The application.

  Args:
    server: what answers.
    watch_s: how often to look for a new bundle, in seconds; 0: never.
    explorer: what the page /explore shows; None: there is none.
  """

  @contextlib.asynccontextmanager
  async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
    del app
    watching = None
    if watch_s:
      watching = asyncio.create_task(server.watch(watch_s))
    yield
    if watching:
      watching.cancel()

  app = fastapi.FastAPI(
    title="dicm_jax score server",
    summary="Probabilities that a user clicks, ad by ad.",
    version=server.current.engine.bundle.digest[:8],
    lifespan=lifespan,
  )
  _add_score(app, server)
  match_api.add(app, server)
  _add_reports(app, server)
  if explorer:
    explore_api.add(app, server, explorer)
  _describe(app, server)
  pictures_api.add(app, server)
  return app


def _add_score(app: fastapi.FastAPI, server: server_lib.Server) -> None:
  @app.post("/score", summary="Score the ads of a page view")
  async def score(request: fastapi.Request) -> fastapi.Response:
    try:
      answer = await _answer(server, request)
      status, headers = 200, {}
    except _Refused as e:
      status, answer = e.status, json.dumps({"error": e.reason}).encode()
      headers = {"Retry-After": "1"} if status == 503 else {}
    server.telemetry.requests.labels(str(status)).inc()
    return fastapi.Response(
      answer, status, headers, media_type="application/json"
    )


async def _answer(server: server_lib.Server, request: fastapi.Request) -> bytes:
  """The answer to a request that is taken.

  Raises:
    _Refused: it is not.
  """
  kind = request.headers.get("content-type", "").partition(";")[0].strip()
  if kind.lower() != "application/json":
    raise _Refused(415, "content-type: expected application/json")
  serving = server.current
  batcher, limits = serving.batcher, server.limits
  if batcher.coming >= limits.waiting:
    raise _Refused(503, f"{limits.waiting} requests wait already")
  batcher.coming += 1
  try:
    with server.telemetry.latency.time():
      async with asyncio.timeout(limits.timeout_s):
        body = await _body(request, limits.body_bytes)
        found, unknown = await server.score(serving, body)
  except TimeoutError as e:
    raise _Refused(504, f"no answer within {limits.timeout_s} s") from e
  except picture_worker.NotYet as e:
    raise _Refused(503, str(e)) from e
  except request_reader.RequestError as e:
    raise _Refused(422, str(e)) from e
  except starlette.requests.ClientDisconnect as e:
    raise _Refused(400, "body: cut off") from e
  except _Refused:
    raise
  except Exception as e:
    _log.exception("a request could not be scored")
    raise _Refused(500, "the server could not score it; see its log") from e
  finally:
    batcher.coming -= 1
  if not np.isfinite(found).all():
    raise _Refused(422, "dense: the numbers overflow in the network")
  return json.dumps(
    {
      "probabilities": np.round(found.astype(float), 7).tolist(),
      "unknown": unknown,
      "bundle": serving.engine.bundle.digest,
    }
  ).encode()


async def _body(request: fastapi.Request, most: int) -> bytes:
  """The whole body, unless there is too much of it."""
  too_large = _Refused(413, f"body: expected at most {most} bytes")
  said = request.headers.get("content-length", "0")
  if not said.isdecimal() or len(said) > 18 or int(said) > most:
    raise too_large
  body = bytearray()
  async for chunk in request.stream():
    body += chunk
    if len(body) > most:
      raise too_large
  return bytes(body)


def _add_reports(app: fastapi.FastAPI, server: server_lib.Server) -> None:
  @app.get("/health", summary="Whether it answers")
  async def health() -> dict[str, str]:
    return {"status": "ok"}

  @app.get("/version", summary="The bundle that answers")
  async def version() -> dict[str, Any]:
    engine = server.current.engine
    manifest = engine.bundle.manifest
    shown = ("config_digest", "step", "dtype", "weights_notice", "data_notice")
    return {
      "bundle": engine.bundle.digest,
      "engine": engine.name,
      "model": engine.bundle.model["name"],
      **server.tables(),
      **{key: manifest[key] for key in shown},
    }

  @app.get("/metrics", summary="Counters for Prometheus")
  async def metrics() -> fastapi.Response:
    text = server.telemetry.text()
    return fastapi.Response(text, media_type=telemetry.CONTENT_TYPE)

  @app.post("/reload", summary="Put the bundle that lies there to work")
  async def reload() -> fastapi.Response:
    try:
      taken = await server.reload()
    except errors.InputError as e:
      return responses.JSONResponse({"error": str(e)}, 409)
    digest = server.current.engine.bundle.digest
    return responses.JSONResponse({"bundle": digest, "taken": taken})


def _describe(app: fastapi.FastAPI, server: server_lib.Server) -> None:
  """Puts the form of a request, and an example, onto the API's page.

  They are the bundle's, so they change with it.
  """
  plain = app.openapi

  def openapi() -> dict[str, Any]:
    engine = server.current.engine
    app.openapi_schema = None
    made = plain()
    schema = engine.reader.json_schema()
    parts = made.setdefault("components", {}).setdefault("schemas", {})
    parts |= schema.pop("$defs", {})
    content = {"schema": schema, "example": engine.bundle.example()}
    score = made["paths"]["/score"]["post"]
    score["requestBody"] = {
      "required": True,
      "content": {"application/json": content},
    }
    for status, what in _ANSWERS.items():
      score["responses"][status] = {"description": what}
    return made

  app.openapi = openapi


_ANSWERS = {
  "200": "Probabilities in the candidates' order; by field, how many values "
  "count as unknown; the bundle's digest.",
  "413": "The body is too large.",
  "415": "It is not JSON.",
  "422": "The request is wrong; the reason names the field.",
  "503": "Too many requests wait; Retry-After says when to come again.",
  "504": "It took too long.",
}
