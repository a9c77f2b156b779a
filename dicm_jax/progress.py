"""How far a run is: a bar on a terminal, plain lines elsewhere."""

from collections.abc import Callable, Iterator
import contextlib
import logging
import sys

import rich.console
import rich.progress

_log = logging.getLogger(__name__)

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
