"""Requests that come at the same time are scored together.

One thread scores. What comes meanwhile waits and is scored in one call after
it; requests that are still being read are waited for, but not for long.
"""

import asyncio
from collections.abc import Callable
import concurrent.futures
import dataclasses
from typing import NamedTuple

from jaxtyping import Float
import numpy as np

from dicm_jax.data import click_log
from dicm_jax.serving import logs
from dicm_jax.serving.limits import Limits

Scorer = Callable[[click_log.ClickLog], Float[np.ndarray, " n"]]
"""Probability of each sample."""


class _Waiting(NamedTuple):
  """A request, and who waits for its probabilities."""

  log: click_log.ClickLog
  answer: asyncio.Future[np.ndarray]


@dataclasses.dataclass
class Batcher:
  """Scores requests of one bundle, in an event loop.

  Whoever calls bounds how many wait.
  """

  scorer: Scorer
  limits: Limits
  observe: Callable[[int, int], None]
  """Told the requests and the samples of each call of the scorer."""

  def __post_init__(self):
    self._waiting: asyncio.Queue[_Waiting]
    self._thread = concurrent.futures.ThreadPoolExecutor(1, "score")
    self._loop: asyncio.Task | None = None
    self.coming = 0
    """Requests that are being read, or wait."""

  async def score(self, log: click_log.ClickLog) -> Float[np.ndarray, " n"]:
    """Probability of each sample of a request."""
    if self._loop is None or self._loop.done():  # Of an event loop that ended.
      self._waiting = asyncio.Queue()
      self._loop = asyncio.create_task(self._run())
    answer = asyncio.get_running_loop().create_future()
    self._waiting.put_nowait(_Waiting(log, answer))
    return await answer

  async def close(self) -> None:
    """Scores what waits, then stops."""
    while self.coming:
      await asyncio.sleep(0.01)
    if self._loop:
      self._loop.cancel()
    self._thread.shutdown(wait=False)

  async def _run(self) -> None:
    while True:
      batch = await self._gather()
      # Who has gone away, or waited too long, wants no answer.
      batch = [one for one in batch if not one.answer.done()]
      if batch:
        await self._score(batch)

  async def _gather(self) -> list[_Waiting]:
    """The first that waits, and those that come within the window."""
    batch = [await self._waiting.get()]
    clock = asyncio.get_running_loop().time
    end = clock() + self.limits.window_s
    while len(batch) < self.limits.batch:
      if self._waiting.empty():
        if self.coming <= len(batch) or clock() >= end:
          break
        await asyncio.sleep(self.limits.window_s / 4)
      else:
        batch.append(self._waiting.get_nowait())
    return batch

  async def _score(self, batch: list[_Waiting]) -> None:
    run = asyncio.get_running_loop().run_in_executor
    try:
      whole = logs.joined([one.log for one in batch])
      self.observe(len(batch), whole.num_samples)
      found = await run(self._thread, self.scorer, whole)
      ends = np.cumsum([one.log.num_samples for one in batch])[:-1]
      parts = np.split(found, ends)
    # Whatever it is, those who wait must hear of it, and the next be scored.
    except Exception as e:
      for one in batch:
        if not one.answer.done():
          one.answer.set_exception(e)
      return
    for one, part in zip(batch, parts, strict=True):
      if not one.answer.done():
        one.answer.set_result(part)
