"""Ads for a user over HTTP: /match finds some, /rank ranks what is left.

What a request may ask for is bounded as that of /score, and the same number of
both may be in flight.
"""

import asyncio
from collections.abc import Awaitable, Callable
import json
from typing import Any, NamedTuple

import fastapi
import numpy as np

from dicm_jax.serving import answers, matching, request_reader, shared_request
from dicm_jax.serving import server as server_lib

N = 10
"""Ads that /rank answers with where the request does not say."""


class _Asked(NamedTuple):
  """A request, read."""

  user: dict[str, Any]
  context: dict[str, Any]
  wanted: int


Work = Callable[[server_lib.Serving, bytes], Awaitable[dict[str, Any]]]
"""(what serves, a body) -> the answer."""


def add(app: fastapi.FastAPI, server: server_lib.Server) -> None:
  """Adds both paths, if the server has a funnel."""
  funnel = server.funnel
  if funnel is None:
    return

  async def match(serving: server_lib.Serving, body: bytes):
    return await _match(funnel, serving, server.limits.candidates, body)

  async def rank(serving: server_lib.Serving, body: bytes):
    return await _rank(funnel, serving, server, body)

  @app.post(
    "/match",
    summary="Find ads for a user, as candidates of /score",
    openapi_extra=_form("k", funnel.match_k),
  )
  async def answer_match(request: fastapi.Request) -> fastapi.Response:
    return await _answer(server, request, "/match", match)

  @app.post(
    "/rank",
    summary="Match, pre-rank and rank: the best ads for a user",
    openapi_extra=_form("n", N, "context"),
  )
  async def answer_rank(request: fastapi.Request) -> fastapi.Response:
    return await _answer(server, request, "/rank", rank)


async def _match(
  funnel: matching.Funnel, serving: server_lib.Serving, most: int, body: bytes
) -> dict[str, Any]:
  bundle, index = serving.engine.bundle, funnel.index
  keys = shared_request.user_keys([*funnel.bundles(), bundle])
  asked = _read(body, "k", min(funnel.match_k, most), most, user=keys)
  found = await asyncio.to_thread(index.match, asked.user, asked.wanted)
  return {
    "candidates": _candidates(funnel, serving, found.rows),
    "scores": answers.rounded(found.scores, 6),
    "unknown": found.unknown,
    "index": index.digest,
  }


async def _rank(
  funnel: matching.Funnel,
  serving: server_lib.Serving,
  server: server_lib.Server,
  body: bytes,
) -> dict[str, Any]:
  bundle = serving.engine.bundle
  bundles = [*funnel.bundles(), bundle]
  most = funnel.prerank_k
  asked = _read(
    body,
    "n",
    min(N, most),
    most,
    user=shared_request.user_keys(bundles),
    context=shared_request.context_keys([bundle]),
  )
  found = await asyncio.to_thread(funnel.shortlist, asked.user)
  answers.rounded(found.scores, 6)  # Of numbers that overflow, no order.
  candidates = _candidates(funnel, serving, found.rows)
  request = {
    "user": shared_request.known_user(bundle.fields, asked.user),
    "context": asked.context,
    "candidates": candidates,
  }
  try:
    body = json.dumps(request).encode()
    probability, unknown = await server.score(serving, body)
  except request_reader.RequestError as e:
    if not str(e).startswith("candidates"):
      raise
    # A new bundle came that the index was not made for.
    reason = f"the rank model refuses an ad: {e}"
    raise answers.Refused(500, reason) from e
  rounded = answers.rounded(probability, 7)
  best = np.argsort(-probability, kind="stable")[: asked.wanted].tolist()
  return {
    "candidates": [candidates[i] for i in best],
    "probabilities": [rounded[i] for i in best],
    "unknown": unknown,
    "index": funnel.index.digest,
    "bundle": bundle.digest,
  }


def _candidates(funnel: matching.Funnel, serving, rows: np.ndarray):
  """Ads as /score takes them now."""
  fields, ads = serving.engine.bundle.fields, funnel.index.ads
  return [shared_request.known_ad(fields, ads[row]) for row in rows.tolist()]


def _read(
  body: bytes,
  number: str,
  default: int,
  most: int,
  **parts: shared_request.Keys,
) -> _Asked:
  """Reads a request; values are checked by those who read them.

  Args:
    body: JSON.
    number: key that says how many ads are wanted.
    default: where it is left out.
    most: that may be wanted.
    **parts: the request's objects by key, see `shared_request.check_keys`.

  Raises:
    RequestError: what is wrong, and where.
  """
  try:
    request = json.loads(body)
  except (ValueError, RecursionError) as e:
    raise request_reader.RequestError("body: Invalid JSON") from e
  shared_request.check_keys("body", request, dict.fromkeys([*parts, number]))
  for key, expected in parts.items():
    shared_request.check_keys(key, request.get(key, {}), expected)
  count = request.get(number, default)
  if type(count) is not int or not 1 <= count <= most:
    raise request_reader.RequestError(
      f"{number}: expected a whole number from 1 to {most}"
    )
  return _Asked(request.get("user", {}), request.get("context", {}), count)


async def _answer(
  server: server_lib.Server, request: fastapi.Request, path: str, work: Work
) -> fastapi.Response:
  """An answer to every request, of 200 or of what is wrong with it."""
  try:
    response = answers.as_json(await _bounded(server, request, path, work))
  except answers.Refused as e:
    response = e.response()
  status = str(response.status_code)
  server.telemetry.funnel_requests.labels(path, status).inc()
  return response


async def _bounded(
  server: server_lib.Server, request: fastapi.Request, path: str, work: Work
) -> dict[str, Any]:
  """The answer to a request that is taken.

  Raises:
    Refused: it is not.
  """
  answers.expect_json(request)
  serving, limits = server.current, server.limits

  async def answer() -> dict[str, Any]:
    return await work(serving, await answers.body(request, limits.body_bytes))

  with (
    answers.turn(serving.batcher, limits.waiting),
    server.telemetry.funnel_latency.labels(path).time(),
  ):
    return await answers.within(limits.timeout_s, answer())


def _form(number: str, default: int, *objects: str) -> dict[str, Any]:
  """Form of a request, for the API's page."""
  parts = {
    name: {"type": "object", "description": f"As `{name}` of /score"}
    for name in ("user", *objects)
  }
  count = {"type": "integer", "minimum": 1, "default": default}
  schema = {
    "type": "object",
    "properties": parts | {number: count},
    "additionalProperties": False,
  }
  content = {"application/json": {"schema": schema}}
  return {"requestBody": {"required": True, "content": content}}
