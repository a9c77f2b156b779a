"""Records the profile of some steps of a run, unseen by the loop."""

from collections.abc import Iterator
import contextlib
import logging
import pathlib
from typing import Any

import jax
from jaxtyping import PyTree
import numpy as np

from dicm_jax import errors
from dicm_jax import workdir as workdir_lib
from dicm_jax.profiling import dedup, trace
from dicm_jax.profiling import summary as summary_lib
from dicm_jax.task import Figures, Task

_log = logging.getLogger(__name__)

COMPILED, WARM, STEPS = 2, 10, 20
"""Steps after a start when the profiler is switched on, and when steps begin to
count: by then the batches made ahead while it woke up are used up. Then the
number of steps that count, fewer in a shorter run."""
_BATCHES_AGAIN = 5


def check_length(steps: int) -> None:
  """Refuses to profile a run that is over before its steps count.

  Args:
    steps: that the run has still to make.
  """
  if steps <= WARM:
    raise errors.InputError(
      f"--profile: expected a run with at least {WARM + 1} steps to make, as "
      f"the first {WARM} only warm up; found {steps}. Raise train.steps, or "
      "take a new --workdir"
    )


def profiled(task: Task, workdir: pathlib.Path) -> Task:
  """The same task, which records a profile into the run's folder."""
  recorder = Recorder(task, workdir)
  return task._replace(
    batches=recorder.batches, step=recorder.step, finish=recorder.finish
  )


class Recorder:
  """What `profiled` puts in place of a task's functions."""

  def __init__(self, task: Task, workdir: pathlib.Path):
    self._task, self._folder = task, _folder(workdir)
    self._counted = range(0)
    """Numbers of the steps that count."""
    self._now = 0
    """Number of the step that runs."""
    self._open = contextlib.ExitStack()
    """The profiler, and the mark of the steps that count, while they last."""
    self._loss: Any = None
    self._shapes: list[PyTree] = []
    """Of (state, batch), of all steps that count."""

  def batches(self, first: int, last: int) -> Iterator[PyTree]:
    """As the task's, with the profiler on for some of them."""
    check_length(last - first)
    self._counted = range(first + WARM, min(first + WARM + STEPS, last))
    made = self._task.batches(first, last)
    with self._open:  # Should the run end before.
      for self._now in range(first, last):
        if self._now == first + COMPILED:
          self._open.enter_context(_profiler(self._folder))
        if self._now == self._counted.start:
          jax.block_until_ready(self._loss)
          mark = jax.profiler.TraceAnnotation(summary_lib.WINDOW)
          self._open.enter_context(mark)
        with jax.profiler.TraceAnnotation(summary_lib.NEXT_BATCH):
          batch = next(made)
        yield batch

  def step(self, state: Any, batch: PyTree) -> tuple[Any, Any]:
    """As the task's, with its number in the trace."""
    if self._now in self._counted:
      shapes = jax.tree.map(_shape, (state, batch))
      if shapes not in self._shapes:
        self._shapes.append(shapes)
    with jax.profiler.StepTraceAnnotation("step", step_num=self._now):
      state, self._loss = self._task.step(state, batch)
    if self._now == self._counted[-1]:
      # Before the loop saves this step, which would count otherwise.
      jax.block_until_ready(self._loss)
      self._open.close()
    return state, self._loss

  def finish(self, state: Any, folder: pathlib.Path | None) -> Figures:
    """As the task's; sums the profile up before."""
    found = self.summary()
    if folder:
      for line in found.lines():
        _log.info("%s", line)
      _log.info("its trace: %s", self._folder)
      workdir_lib.write_json(folder / workdir_lib.PROFILE, found.as_json())
    return self._task.finish(state, folder)

  def summary(self) -> summary_lib.Summary:
    """Where the time of the steps that count went, once they are over.

    Each process's own; all must call it, as their compilers may wait for one
    another.
    """
    programs = [self._task.hlo(*shapes) for shapes in self._shapes]
    make, again = self._task.host_batch, self._counted[:_BATCHES_AGAIN]
    return summary_lib.make(
      trace.read(
        _newest(self._folder),
        on_cpu=jax.default_backend() == "cpu",
        window=summary_lib.WINDOW,
        marks=(summary_lib.NEXT_BATCH,),
      ),
      programs,
      steps=self._counted,
      input_thread=make and dedup.measure(make, again),
    )


def _profiler(folder: pathlib.Path) -> contextlib.AbstractContextManager:
  options = jax.profiler.ProfileOptions()
  options.python_tracer_level = 0  # Each call of Python would cost time.
  return jax.profiler.trace(str(folder), profiler_options=options)


def _shape(array: jax.Array | np.ndarray) -> jax.ShapeDtypeStruct:
  sharding = getattr(array, "sharding", None)  # NumPy's have none.
  return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)


def _folder(workdir: pathlib.Path) -> pathlib.Path:
  """Where this process's traces lie; files are named by host and time."""
  folder = workdir / workdir_lib.TRACES
  if jax.process_count() == 1:
    return folder
  return folder / f"process_{jax.process_index()}"


def _newest(folder: pathlib.Path) -> pathlib.Path:
  files = folder.rglob("*.xplane.pb")
  return max(files, key=lambda file: file.stat().st_mtime)
