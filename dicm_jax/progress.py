"""How far a run is: a bar on a terminal, plain lines elsewhere."""

from collections.abc import Callable, Iterator
import contextlib
import logging
import sys
import time

import rich.console
import rich.progress

_log = logging.getLogger(__name__)

LOG_SECONDS = 5

Show = Callable[[int, dict[str, float]], None]
"""Called with the step and the figures to show beside it."""


@contextlib.contextmanager
def training(total_steps: int, first_step: int) -> Iterator[Show]:
  """Shows the steps of a run."""
  if not sys.stderr.isatty():

    def line(step: int, figures: dict[str, float]) -> None:
      _log.info("step %d of %d: %s", step, total_steps, _text(figures))

    yield line
    return
  columns = (
    "[progress.description]{task.description}",
    rich.progress.BarColumn(),
    rich.progress.MofNCompleteColumn(),
    rich.progress.TimeRemainingColumn(),
    "{task.fields[figures]}",
  )
  console = rich.console.Console(stderr=True)
  with rich.progress.Progress(*columns, console=console) as bar:
    task = bar.add_task(
      "train", total=total_steps, completed=first_step, figures=""
    )

    def update(step: int, figures: dict[str, float]) -> None:
      bar.update(task, completed=step, figures=_text(figures))

    yield update


def _text(figures: dict[str, float]) -> str:
  return "  ".join(f"{name} {value:.5g}" for name, value in figures.items())


class Counter:
  """Logs how far a long piece of work is, with its rate and the time left.

  What an earlier run has done counts as done, but not into the rate.

  Args:
    what: is counted.
  """

  def __init__(self, what: str):
    self._what = what
    self._made = 0
    self._start = self._logged = 0.0

  def part(
    self, before: int = 0, total: int | None = None
  ) -> Callable[[int, int], None]:
    """Returns what a part of the work calls with (done, to do).

    The first call says what was done before.

    Args:
      before: done in the parts before it.
      total: of all parts; None: this is the only one.
    """
    known: int | None = None

    def progress(done: int, of: int) -> None:
      nonlocal known
      now = time.monotonic()
      if not self._start:
        self._start = self._logged = now
      self._made += 0 if known is None else done - known
      known = done
      if now - self._logged >= LOG_SECONDS and self._made:
        self._logged = now
        self._log(before + done, total or of, now)

    return progress

  def _log(self, done: int, total: int, now: float) -> None:
    rate = self._made / max(now - self._start, 1e-9)
    _log.info(
      "%s: %d of %d, %.1f a second, %.0f s left",
      self._what,
      done,
      total,
      rate,
      (total - done) / rate,
    )
