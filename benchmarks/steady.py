"""Once warm, does a run compile anything more, and does it wait for its input?

python -m benchmarks.steady [--steps=500] [--file=quickstart] [--cpu_devices=8]

Trains a config of configs/ on cached features as the loop does, and counts what
XLA compiles after the first 20 steps, and the time in which no step runs
because the next batch is not there. The last is bounded from above: the whole
wait for a batch counts if, at its end, the step before is found done. The last
line's value is that share of the time.
"""

import contextlib
import time
from typing import NamedTuple

from absl import app, flags
import jax

from benchmarks import report
from benchmarks.peers import workload
from dicm_jax import command, experiment, training

WARM_UP = 20
_COMPILED = "/jax/core/compile/backend_compile_duration"


class Found(NamedTuple):
  """What was seen of some steps."""

  compiled: int
  """Programs compiled, or read from a cache of compiled ones."""
  idle_share: float
  """At most so much of the time no step ran for want of a batch."""
  seconds: float


@contextlib.contextmanager
def compilations():
  """Yields a function that says how many programs were compiled so far."""
  seen: list[str] = []

  def listen(event: str, duration_s: float, **_) -> None:
    del duration_s
    if event == _COMPILED:
      seen.append(event)

  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    yield lambda: len(seen)
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)


def run(
  x: experiment.Experiment,
  steps: int,
  *,
  warm_up: int = WARM_UP,
  asks_ahead: bool = False,
) -> Found:
  """Trains some steps after those that warm up."""
  trained = training.of(x, asks_ahead=asks_ahead)
  state = jax.tree.map(lambda leaf: leaf.copy(), x.state)
  batches = trained.batches(0, warm_up + steps)
  with compilations() as compiled:
    for _ in range(warm_up):
      state, loss = trained.step(state, next(batches))
      float(loss)
    before, start, idle = compiled(), time.perf_counter(), 0.0
    for batch, waited in _timed(batches):
      idle += waited if loss.is_ready() else 0.0
      last = loss
      state, loss = trained.step(state, batch)
      float(last)  # The loop reads each loss a step late.
    jax.block_until_ready(state)
    seconds = time.perf_counter() - start
    return Found(compiled() - before, idle / seconds, seconds)


def _timed(batches):
  """Each batch, and how long it was waited for."""
  while True:
    start = time.perf_counter()
    batch = next(batches, None)
    if batch is None:
      return
    yield batch, time.perf_counter() - start


def main(argv: list[str]) -> None:
  del argv
  command.start(flags.FLAGS)
  steps, file = flags.FLAGS.steps, flags.FLAGS.file
  x = workload.build(file=file, values={"train.steps": WARM_UP + steps})
  found = run(x, steps)
  print(
    f"configs/{file}.py, {steps} steps after {WARM_UP}: {found.compiled} "
    f"compilations, idle at most {100 * found.idle_share:.2f} % of "
    f"{found.seconds:.1f} s"
  )
  report.emit(
    value=found.idle_share,
    unit="share of the time in which no step runs for want of a batch, at most",
    goal="< 0.05",
    others=[
      report.Figure("compilations once warm", found.compiled, "<= 0"),
    ],
    details={
      "steps": steps,
      "file": file,
      "step_ms": 1e3 * found.seconds / steps,
      "sizes": workload.sizes(x),
    },
  )


if __name__ == "__main__":
  command.define_devices()
  flags.DEFINE_integer("steps", 500, "Steps after those that warm up.")
  flags.DEFINE_string("file", "quickstart", "Which of configs/.")
  app.run(main, flags_parser=command.parse_flags)
