"""The bundle that answers, and how another takes its place.

A request holds on to the engine that it began with, so a new bundle disturbs
nobody: requests in flight are finished by the old one.
"""

import asyncio
import logging
import pathlib
import time
from typing import NamedTuple

from jaxtyping import Float
import numpy as np

from dicm_jax import errors
from dicm_jax.serving import batcher as batcher_lib
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import engine as engine_lib
from dicm_jax.serving import telemetry as telemetry_lib
from dicm_jax.serving.limits import Limits

_log = logging.getLogger(__name__)


class Serving(NamedTuple):
  """An engine and the queue before it."""

  engine: engine_lib.Engine
  batcher: batcher_lib.Batcher


class Server:
  """Keeps one bundle at work.

  Args:
    folder: of the bundle, or a link to it.
    engine: as `engine.start`.
    limits: of requests.

  Raises:
    InputError: as `engine.start`.
  """

  def __init__(self, folder: pathlib.Path, engine: str, limits: Limits):
    self.limits = limits
    self.telemetry = telemetry_lib.Telemetry()
    self._folder, self._engine = folder, engine
    self._lock = asyncio.Lock()
    self._seen = _mark(folder)
    self._closing: set[asyncio.Task] = set()
    self.current = self._start()
    self.telemetry.serves(self.current.engine.bundle.digest)

  def _start(self) -> Serving:
    start = time.perf_counter()
    made = engine_lib.start(self._folder, self._engine, self.limits)
    seconds = time.perf_counter() - start
    _log.info(
      "%s: bundle %s by %s, ready in %.1f s",
      made.bundle.folder,
      made.bundle.digest[:8],
      made.name,
      seconds,
    )
    observe = self.telemetry.observe_batch
    return Serving(made, batcher_lib.Batcher(made.scorer, self.limits, observe))

  async def score(
    self, serving: Serving, body: bytes
  ) -> tuple[Float[np.ndarray, " n"], dict[str, int]]:
    """Probabilities of a request's candidates, and what of it is unknown.

    Raises:
      RequestError: the request is wrong.
    """
    asked = serving.engine.reader.read(body)
    return await serving.batcher.score(asked.log), asked.unknown

  async def reload(self) -> bool:
    """Puts the bundle that lies in the folder to work.

    Returns:
      Whether it is another one than before.

    Raises:
      InputError: as `engine.start`; the bundle before it stays at work.
    """
    async with self._lock:
      self._seen = _mark(self._folder)
      try:
        digest = bundle_lib.read_manifest(self._folder)[1]
        if digest == self.current.engine.bundle.digest:
          self.telemetry.reloads.labels("same").inc()
          return False
        made = await asyncio.to_thread(self._start)
      except errors.InputError:
        self.telemetry.reloads.labels("refused").inc()
        raise
      before, self.current = self.current, made
      self.telemetry.serves(made.engine.bundle.digest)
      self.telemetry.reloads.labels("taken").inc()
    closing = asyncio.create_task(before.batcher.close())
    self._closing.add(closing)
    closing.add_done_callback(self._closing.discard)
    return True

  async def watch(self, every_s: float) -> None:
    """Reloads whenever another manifest lies in the folder."""
    while True:
      await asyncio.sleep(every_s)
      found = _mark(self._folder)
      if found is None or found == self._seen:
        continue
      try:
        await self.reload()
      except errors.InputError as e:
        _log.error("the bundle before it stays: %s", e)


def _mark(folder: pathlib.Path) -> tuple[int, int, int] | None:
  """Tells one manifest from another without reading it."""
  try:
    found = (folder / bundle_lib.MANIFEST).stat()
  except OSError:
    return None
  return found.st_ino, found.st_mtime_ns, found.st_size
