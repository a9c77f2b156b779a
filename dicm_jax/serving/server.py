"""The bundle that answers, and how another takes its place.

A request holds on to the engine that it began with, so a new bundle disturbs
nobody: requests in flight are finished by the old one.
"""

import asyncio
import logging
import pathlib
import time
from typing import Any, NamedTuple

from jaxtyping import Float
import numpy as np

from dicm_jax import errors
from dicm_jax.serving import batcher as batcher_lib
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import (
  delta,
  delta_folder,
  matching,
  picture_request,
  picture_rows,
  picture_worker,
  request_reader,
)
from dicm_jax.serving import engine as engine_lib
from dicm_jax.serving import telemetry as telemetry_lib
from dicm_jax.serving.limits import Limits

_log = logging.getLogger(__name__)


class Serving(NamedTuple):
  """An engine, the queue before it, and what embeds new pictures."""

  engine: engine_lib.Engine
  batcher: batcher_lib.Batcher
  rows: picture_rows.PictureRows
  worker: picture_worker.PictureWorker


class Server:
  """Keeps one bundle at work.

  Args:
    folder: of the bundle, or a link to it.
    engine: as `engine.start`.
    limits: of requests.
    deltas: folder of deltas besides the bundle's own.
    pictures: whether to load the encoder of pictures at once, not with the
      first picture.

  Raises:
    InputError: as `engine.start`.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    engine: str,
    limits: Limits,
    *,
    deltas: pathlib.Path | None = None,
    pictures: bool = False,
  ):
    self.limits, self.uploading = limits, 0
    self._deltas, self._load = [deltas] if deltas else [], pictures
    self.telemetry = telemetry_lib.Telemetry()
    self.funnel: matching.Funnel | None = None
    self._folder, self._engine = folder, engine
    self._lock = asyncio.Lock()
    self.refused: dict[str, str] = {}
    """By folder, why deltas that lie there were not applied."""
    self._seen = self._mark()
    self._closing: set[asyncio.Task] = set()
    self.current = self._start()
    self.telemetry.serves(self.current.engine.bundle.digest)

  def _start(self) -> Serving:
    start = time.perf_counter()
    made = engine_lib.start(self._folder, self._engine, self.limits)
    worker = picture_worker.PictureWorker(made.bundle, self.limits)
    if self._load:
      worker.load()
    made = self._followed(made) or made
    seconds = time.perf_counter() - start
    _log.info(
      "%s: bundle %s by %s, ready in %.1f s",
      made.bundle.folder,
      made.bundle.digest[:8],
      made.name,
      seconds,
    )
    return self._serving(made, worker)

  def _serving(self, made: engine_lib.Engine, worker) -> Serving:
    observe = self.telemetry.observe_batch
    return Serving(
      made,
      batcher_lib.Batcher(made.scorer, self.limits, observe),
      picture_rows.PictureRows(made.bundle, self.limits),
      worker,
    )

  def _followed(self, engine: engine_lib.Engine) -> engine_lib.Engine | None:
    """The engine over tables that have followed their deltas.

    None: there are no deltas that it has not.
    """
    folders = [engine.bundle.folder / delta.FOLDER, *self._deltas]
    found = delta_folder.follow(engine.bundle, folders)
    for reason in found.refused.values():
      _log.error("a delta is not applied: %s", reason)
    self.refused = found.refused
    self.telemetry.reloads.labels("delta refused").inc(len(found.refused))
    self.telemetry.reloads.labels("delta taken").inc(len(found.taken))
    if not found.taken:
      return None
    _log.info("deltas applied: %s", ", ".join(found.taken))
    return engine_lib.over(engine, found.bundle, self.limits)

  async def score(
    self, serving: Serving, body: bytes
  ) -> tuple[Float[np.ndarray, " n"], dict[str, int]]:
    """Probabilities of a request's candidates, and what of it is unknown.

    Raises:
      RequestError: the request is wrong.
    """
    if not picture_request.holds_any(body):
      return await self._score(serving, body)
    request, sent = picture_request.taken_out(body, self.limits)
    if not sent:
      return await self._score(serving, body)
    try:
      vectors = await serving.worker(
        [one.data for one in sent], [one.place for one in sent]
      )
    except errors.InputError as e:
      raise request_reader.RequestError(str(e)) from e
    with serving.rows.lend(vectors) as names:
      named = picture_request.named(request, sent, names)
      return await self._score(serving, named)

  async def _score(self, serving: Serving, body: bytes):
    asked = serving.engine.reader.read(body)
    return await serving.batcher.score(asked.log), asked.unknown

  def tables(self) -> dict[str, Any]:
    """What the tables hold besides the bundle's own, for `/version`."""
    bundle = self.current.engine.bundle
    return {
      "deltas": list(bundle.deltas),
      "image_rows": bundle.fields.image_rows,
      "uploaded": len(self.current.rows.kept),
      "refused": dict(self.refused),
    }

  async def reload(self) -> bool:
    """Puts the bundle that lies in the folder to work, and its deltas.

    Returns:
      Whether the tables are others than before.

    Raises:
      InputError: as `engine.start`, and what was before it stays at work; or a
        delta is refused, others having been applied perhaps.
    """
    async with self._lock:
      self._seen = self._mark()
      try:
        digest = bundle_lib.read_manifest(self._folder)[1]
        if digest != self.current.engine.bundle.digest:
          made = await asyncio.to_thread(self._start)
        else:
          made = await asyncio.to_thread(self._with_deltas)
      except errors.InputError:
        self.telemetry.reloads.labels("refused").inc()
        raise
      if made is None:
        self.telemetry.reloads.labels("same").inc()
      else:
        self._put(made)
    for reason in self.refused.values():
      raise errors.InputError(reason)
    return made is not None

  def _with_deltas(self) -> Serving | None:
    engine = self._followed(self.current.engine)
    return engine and self._serving(engine, self.current.worker)

  def _put(self, made: Serving) -> None:
    """Lets requests that come now go to another; at once, in the event loop."""
    before, self.current = self.current, made
    if made.worker is before.worker:  # The same layers: so are the vectors.
      made.rows.keep_all(before.rows)
    self.telemetry.serves(made.engine.bundle.digest)
    self.telemetry.reloads.labels("taken").inc()
    closing = asyncio.create_task(self._close(before))
    self._closing.add(closing)
    closing.add_done_callback(self._closing.discard)

  async def _close(self, before: Serving) -> None:
    """Ends what was at work, once its requests are answered."""
    await before.batcher.close()
    if before.worker is not self.current.worker:
      before.worker.close()

  async def watch(self, every_s: float) -> None:
    """Reloads whenever another manifest, or a delta, lies in the folder."""
    while True:
      await asyncio.sleep(every_s)
      found = self._mark()
      if found[0] is None or found == self._seen:
        continue
      try:
        await self.reload()
      except errors.InputError as e:
        _log.error("not taken: %s", e)

  def _mark(self) -> tuple:
    """Tells one state of the folders from another without reading files."""
    folders = [self._folder / delta.FOLDER, *self._deltas]
    return _mark(self._folder), delta_folder.marks(folders)


def _mark(folder: pathlib.Path) -> tuple[int, int, int] | None:
  """Tells one manifest from another without reading it."""
  try:
    found = (folder / bundle_lib.MANIFEST).stat()
  except OSError:
    return None
  return found.st_ino, found.st_mtime_ns, found.st_size
