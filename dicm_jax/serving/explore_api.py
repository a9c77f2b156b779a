"""The explorer's paths: a page, and what it asks for as JSON.

Slow work is done by one thread beside the scoring of requests, few at a time.
No path and no file name comes from a client: it says numbers.
"""

import asyncio
from collections.abc import Awaitable, Callable
import concurrent.futures
import logging
import pathlib
from typing import Any, TypeVar

import fastapi
from fastapi import responses
from jaxtyping import Float
import numpy as np

from dicm_jax import errors
from dicm_jax.data import click_log
from dicm_jax.serving import answers
from dicm_jax.serving import explorer as explorer_lib
from dicm_jax.serving import server as server_lib

_log = logging.getLogger(__name__)

WAITING = 8
"""Questions that may be in flight; an explanation takes up to seconds."""
TIMEOUT_S = 30.0
"""For an answer of the explorer."""
PAGE = pathlib.Path(__file__).parent / "explore_page"
TYPES = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
}
"""Of the files of PAGE."""
HEADERS = {
  # The page needs nothing of elsewhere, and lets nothing in.
  "Content-Security-Policy": "default-src 'none'; script-src 'self'; "
  "style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "Cache-Control": "no-cache",
}

Answer = TypeVar("Answer")


class _Desk:
  """Answers questions, a few at a time."""

  def __init__(
    self, server: server_lib.Server, explorer: explorer_lib.Explorer
  ):
    self._server, self.explorer = server, explorer
    self._thread = concurrent.futures.ThreadPoolExecutor(1, "explore")
    self._waiting = 0

  async def answer(self, ask: Callable[[], Awaitable[Any]]) -> fastapi.Response:
    """What `ask` finds, or why it does not, as JSON."""
    try:
      if self._waiting >= WAITING:
        reason = "the explorer is busy; try again in a moment"
        raise answers.Refused(503, reason, retry_s=1)
      self._waiting += 1
      try:
        return answers.as_json(await answers.within(TIMEOUT_S, _found(ask)))
      finally:
        self._waiting -= 1
    except answers.Refused as e:
      return e.response()

  async def work(self, work: Callable[..., Answer], *args: Any) -> Answer:
    """Does slow work on the explorer's own thread."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(self._thread, work, *args)

  async def model(self) -> explorer_lib.Model:
    """The bundle that is served now."""
    return await self.work(self.explorer.model, self._server.current.engine)

  async def predicted(
    self, number: int, model: explorer_lib.Model
  ) -> list[Float[np.ndarray, " n"]]:
    """Each model's probabilities of a page view's ads."""
    view = self.explorer.view(number)
    found = [await self._scored(model, await self.work(model.read, view))]
    other = self.explorer.compare
    if other:
      log = await self.work(other.read, view)
      found.append(await self.work(other.engine.scorer, log))
    return found

  async def _scored(self, model: explorer_lib.Model, log: click_log.ClickLog):
    """By the thread that scores requests, which alone may use its scorer."""
    serving = self._server.current
    if serving.engine is not model.engine:  # Exchanged a moment ago.
      return await self.work(model.engine.scorer, log)
    serving.batcher.coming += 1
    try:
      return await serving.batcher.score(log)
    finally:
      serving.batcher.coming -= 1


def add(
  app: fastapi.FastAPI,
  server: server_lib.Server,
  explorer: explorer_lib.Explorer,
) -> None:
  """Adds the paths below /explore to an application."""
  desk = _Desk(server, explorer)
  _add_page(app)
  _add_pictures(app, explorer)
  _add_views(app, desk)
  _add_questions(app, desk)
  _add_own_picture(app, desk, server)


def _add_page(app: fastapi.FastAPI) -> None:
  for path in sorted(PAGE.iterdir()):
    if path.suffix in TYPES:
      name = "" if path.name == "index.html" else f"/{path.name}"
      app.get(f"/explore{name}", include_in_schema=False)(_file(path))


def _file(path: pathlib.Path) -> Callable[[], Awaitable[fastapi.Response]]:
  """What answers with a file of the page."""
  content, kind = path.read_bytes(), TYPES[path.suffix]

  async def answer() -> fastapi.Response:
    return fastapi.Response(content, headers=HEADERS, media_type=kind)

  return answer


def _add_pictures(
  app: fastapi.FastAPI, explorer: explorer_lib.Explorer
) -> None:
  @app.get("/explore/pictures/{picture}", summary="A picture, small")
  def picture_of(picture: int) -> fastapi.Response:
    if not 0 <= picture < len(explorer.folder.pictures):
      return responses.JSONResponse({"error": f"no picture {picture}"}, 404)
    try:
      found = explorer.folder.jpeg(picture)
    except errors.InputError:
      _log.exception("a picture cannot be read")
      return responses.JSONResponse({"error": "it cannot be read"}, 404)
    headers = HEADERS | {"Cache-Control": "max-age=3600"}
    return fastapi.Response(found, headers=headers, media_type="image/jpeg")


def _add_views(app: fastapi.FastAPI, desk: _Desk) -> None:
  @app.get("/explore/about", summary="What is served and shown")
  async def about() -> fastapi.Response:
    async def ask() -> dict[str, Any]:
      return desk.explorer.about(await desk.model())

    return await desk.answer(ask)

  @app.get("/explore/views", summary="Page views, in short")
  async def views() -> list[dict[str, Any]]:
    return desk.explorer.views()

  @app.get("/explore/views/{view}", summary="A page view's ads, ranked")
  async def view_of(view: int) -> fastapi.Response:
    async def ask() -> dict[str, Any]:
      model = await desk.model()
      predicted = await desk.predicted(view, model)
      return await desk.work(desk.explorer.page, view, model, predicted)

    return await desk.answer(ask)


def _add_questions(app: fastapi.FastAPI, desk: _Desk) -> None:
  @app.get(
    "/explore/neighbours/{picture}", summary="Pictures with like vectors"
  )
  async def neighbours(picture: int) -> fastapi.Response:
    async def ask() -> list[dict[str, Any]]:
      model = await desk.model()
      return await desk.work(model.neighbours, picture)

    return await desk.answer(ask)

  @app.get("/explore/explain/{view}/{ad}", summary="What drove a score")
  async def explain(view: int, ad: int) -> fastapi.Response:
    async def ask() -> dict[str, Any]:
      model = await desk.model()
      return await desk.work(desk.explorer.explain, view, ad, model)

    return await desk.answer(ask)

  @app.get(
    "/explore/occlusion/{view}/{ad}",
    summary="Which part of an ad's picture drove its score",
  )
  async def occlusion(view: int, ad: int) -> fastapi.Response:
    async def ask() -> dict[str, Any]:
      model = await desk.model()
      return await desk.work(desk.explorer.occlusion, view, ad, model)

    return await desk.answer(ask)


def _add_own_picture(
  app: fastapi.FastAPI, desk: _Desk, server: server_lib.Server
) -> None:
  @app.post(
    "/explore/rank-picture",
    summary="Where an ad with the picture in the body would stand",
  )
  async def rank_picture(
    request: fastapi.Request, view: int
  ) -> fastapi.Response:
    async def ask() -> dict[str, Any]:
      kind = request.headers.get("content-type", "")
      if not kind.lower().startswith("image/"):
        reason = "content-type: expected that of a picture, image/…"
        raise answers.Refused(415, reason)
      picture = await answers.body(request, server.limits.body_bytes)
      model = await desk.model()
      predicted = await desk.predicted(view, model)
      return await desk.work(
        desk.explorer.rank_picture, view, picture, model, predicted[0]
      )

    return await desk.answer(ask)


async def _found(ask: Callable[[], Awaitable[Answer]]) -> Answer:
  """What `ask` finds.

  Raises:
    Refused: it is not there, or cannot be had of this model.
  """
  try:
    return await ask()
  except explorer_lib.Missing as e:
    raise answers.Refused(404, str(e.args[0])) from e
  except explorer_lib.Unable as e:
    raise answers.Refused(501, str(e)) from e
  except errors.InputError as e:
    raise answers.Refused(422, str(e)) from e
