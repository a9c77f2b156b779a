"""The score server's HTTP: paths, limits, and how it says no."""

import asyncio
from collections.abc import AsyncIterator
import contextlib
from typing import Any

import fastapi
from fastapi import responses
import numpy as np

from dicm_jax import errors
from dicm_jax.serving import (
  answers,
  explore_api,
  match_api,
  pictures_api,
  telemetry,
)
from dicm_jax.serving import explorer as explorer_lib
from dicm_jax.serving import server as server_lib


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
      response = answers.as_json(await _answer(server, request))
    except answers.Refused as e:
      response = e.response()
    server.telemetry.requests.labels(str(response.status_code)).inc()
    return response


async def _answer(
  server: server_lib.Server, request: fastapi.Request
) -> dict[str, Any]:
  """The answer to a request that is taken.

  Raises:
    Refused: it is not.
  """
  answers.expect_json(request)
  serving, limits = server.current, server.limits

  async def score() -> tuple[np.ndarray, dict[str, int]]:
    body = await answers.body(request, limits.body_bytes)
    return await server.score(serving, body)

  with (
    answers.turn(serving.batcher, limits.waiting),
    server.telemetry.latency.time(),
  ):
    found, unknown = await answers.within(limits.timeout_s, score())
  return {
    "probabilities": answers.rounded(found, 7),
    "unknown": unknown,
    "bundle": serving.engine.bundle.digest,
  }


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
