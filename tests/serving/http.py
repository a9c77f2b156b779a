"""Requests to an application in this process."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
import contextlib
import json
import pathlib
from typing import Any, TypeVar

import httpx

from dicm_jax.serving import app as app_lib
from dicm_jax.serving import server as server_lib
from dicm_jax.serving.limits import Limits

Answer = TypeVar("Answer")
JSON = {"content-type": "application/json"}


def serve(
  folder: pathlib.Path, engine: str = "auto", **limits
) -> server_lib.Server:
  given = {"timeout_s": 60.0} | limits  # Few cores, and others on them.
  return server_lib.Server(folder, engine, Limits(**given))


def with_client(
  server: server_lib.Server,
  work: Callable[[httpx.AsyncClient], Awaitable[Answer]],
) -> Answer:
  """Runs `work` in an event loop of its own."""

  async def run() -> Answer:
    transport = httpx.ASGITransport(app_lib.make(server))
    async with httpx.AsyncClient(
      transport=transport, base_url="http://test", timeout=60
    ) as client:
      return await work(client)

  return asyncio.run(run())


def post(server: server_lib.Server, body: Any, **options) -> httpx.Response:
  """Asks for scores once; what is no bytes is sent as JSON."""
  plain = body if isinstance(body, bytes) else json.dumps(body).encode()
  return with_client(
    server,
    lambda client: client.post(
      "/score", content=plain, **{"headers": JSON} | options
    ),
  )


@contextlib.asynccontextmanager
async def asked_meanwhile(
  client: httpx.AsyncClient, body: bytes
) -> AsyncIterator[list[httpx.Response]]:
  """Four at a time ask for scores until the block ends; gives their answers."""
  answers: list[httpx.Response] = []
  done = asyncio.Event()

  async def ask() -> None:
    while not done.is_set():
      answers.append(await client.post("/score", content=body, headers=JSON))

  asking = [asyncio.create_task(ask()) for _ in range(4)]
  yield answers
  done.set()
  await asyncio.gather(*asking)


def get(server: server_lib.Server, path: str) -> httpx.Response:
  return with_client(server, lambda client: client.get(path))
