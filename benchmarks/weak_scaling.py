"""Do processes train in proportion to their number, each with as many samples?

python -m benchmarks.weak_scaling [--rounds=3]

1, 2 and 4 processes of this machine train together over gloo: the default model
on features of 512 numbers, for each process one device, 1 024 samples of a
batch, 500 users and 1 024 pictures in the data. So an owner embeds as many
images however many processes there are; a worker asks for more, as its samples
repeat less. `taskset` holds each process to one core. Where cores are fewer
they are shared, and the rate can be no more than the cores': a column says so.
Each process makes its part of the batches on the way. The numbers of processes
take turns, every time from a start; a rate is that of the median step. The last
line's value is the efficiency, rate of N / (N x rate of one), of the most
processes that have a core each: the median over the rounds.
"""

from collections.abc import Sequence
import contextlib
import json
import os
import socket
import subprocess
import sys
import time

from absl import app, flags
import jax
from jaxtyping import Float
import numpy as np

from benchmarks import distinct, report
from benchmarks.peers import runs, workload
from dicm_jax import command, train
from dicm_jax.data import sample

PROCESSES = (1, 2, 4)
SAMPLES, USERS, PICTURES = 1024, 500, 1024
"""Of a process: samples of a batch; users and pictures in the data."""
WARM_UP, STEPS = 8, 24
LIMIT_S = 240.0
"""Processes that have not ended by then wait for one that is gone."""


def main(argv: list[str]) -> None:
  del argv
  if flags.FLAGS.child:
    command.start(flags.FLAGS)
    command.show(measure(jax.process_count()))
    return
  cores = sorted(os.sched_getaffinity(0))
  rounds = range(flags.FLAGS.rounds)
  found = [[together(n, cores) for n in PROCESSES] for _ in rounds]
  rates = np.array([[one["rate"] for one in turn] for turn in found])
  print("\n".join(lines(rates, found[0], len(cores))))
  enough = [n for n in PROCESSES if n <= len(cores)]
  first, *others = figures(rates, len(cores), first=max(enough))
  report.emit(
    **first._asdict(),
    others=others,
    details={
      "cores_used": len(cores),
      "processes": PROCESSES,
      "samples_per_s": rates.tolist(),
      "sizes": [one["sizes"] for one in found[0]],
      "steps": STEPS,
    },
  )


def together(count: int, cores: Sequence[int]) -> dict:
  """What so many processes measure, on a core each as far as there are any.

  Raises:
    RuntimeError: one of them failed.
  """
  with socket.socket() as free:
    free.bind(("localhost", 0))
    port = free.getsockname()[1]
  with contextlib.ExitStack() as stack:
    started: list[subprocess.Popen] = []
    for me in range(count):
      process = _start(count, me, port, cores[me % len(cores)])
      started.append(stack.enter_context(process))
      stack.callback(process.kill)  # Before it is waited for.
    codes = _exit_codes(started)
    if any(codes):
      raise RuntimeError(f"exit codes of {count} processes: {codes}")
    said = started[0].communicate()[0]
  return json.loads(said[said.index("{") :])  # Gloo speaks before.


def _exit_codes(started: Sequence[subprocess.Popen]) -> list[int | None]:
  """Those of processes of which all have ended, or one badly.

  They are looked at together: one may wait for another that is gone.

  Raises:
    RuntimeError: they take too long.
  """
  deadline = time.monotonic() + LIMIT_S
  while time.monotonic() < deadline:
    codes = [process.poll() for process in started]
    if any(codes) or None not in codes:
      return codes
    time.sleep(0.05)
  raise RuntimeError(f"{len(started)} processes: not done after {LIMIT_S} s")


def _start(count: int, me: int, port: int, core: int) -> subprocess.Popen:
  program = ["taskset", "-c", str(core), sys.executable, "-m"]
  program += ["benchmarks.weak_scaling", "--child", "--cpu_devices=1"]
  if count > 1:
    program += [
      f"--coordinator=localhost:{port}",
      f"--num_processes={count}",
      f"--process_id={me}",
    ]
  return subprocess.Popen(program, stdout=subprocess.PIPE, text=True)


def measure(count: int) -> dict:
  """Trains as one of so many processes.

  Returns:
    Samples a second of all of them, and what the first batch asks of each.
  """
  world = sample.generate(0, num_users=USERS * count)
  pictures = PICTURES * count
  data = distinct.with_pictures(world.dataset, pictures, pictures)
  values = {"train.batch_size": SAMPLES * count}
  x = workload.build(data=data, values=values)
  step, state = train.make_train_step(x.program, x.state), x.state
  ends = []
  for batch in x.batches(0, WARM_UP + STEPS):
    state, loss = step(state, x.content, batch)
    float(loss)
    ends.append(time.perf_counter())
  seconds = np.diff(ends)[WARM_UP - 1 :]
  first = workload.batch_of(x, 0)
  images = first.image_rows
  return {
    "rate": SAMPLES * count / float(np.median(seconds)),
    "sizes": {
      "asked": np.count_nonzero(images >= 0) / count,
      "embedded": np.count_nonzero(np.unique(images) >= 0) / count,
      "ids": np.count_nonzero(first.id_rows >= 0) / count,
    },
  }


def efficiency(
  rates: Float[np.ndarray, "rounds N"],
) -> Float[np.ndarray, "rounds N"]:
  """Rate of N processes / (N x rate of one), by round and number."""
  return rates / (rates[:, :1] * PROCESSES)


def at_most(count: int, cores: int) -> float:
  """The efficiency at which all cores are as busy as one process' is."""
  return min(count, cores) / count


def figures(
  rates: Float[np.ndarray, "rounds N"], cores: int, *, first: int
) -> list[report.Figure]:
  """Efficiencies but for one process, that of `first` processes first."""
  out = []
  for count, column in zip(PROCESSES, efficiency(rates).T, strict=True):
    low, middle, high = runs.quartiles(column)
    unit = (
      f"rate of {count} processes / {count} x rate of one, at most "
      f"{at_most(count, cores):.3g} on {cores} cores"
    )
    figure = report.Figure(unit, middle, None, (low, high))
    if count == first:
      out.insert(0, figure)
    elif count > 1:
      out.append(figure)
  return out


def lines(
  rates: Float[np.ndarray, "rounds N"], found: Sequence[dict], cores: int
) -> list[str]:
  """The figures as a table of docs/scaling.md."""
  head = (
    "processes",
    "cores used",
    "samples a second",
    "efficiency",
    "quartiles",
    "at most on these cores",
    "share of that",
    "images an owner embeds",
    "a worker asks for",
    "ids a worker asks for",
  )
  out = [f"| {' | '.join(head)} |", "|" + " ---: |" * len(head)]
  of = efficiency(rates)
  for i, count in enumerate(PROCESSES):
    low, middle, high = runs.quartiles(of[:, i])
    limit, sizes = at_most(count, cores), found[i]["sizes"]
    cells = (
      str(count),
      str(min(count, cores)),
      f"{np.median(rates[:, i]):,.0f}",
      f"{middle:.3f}",
      f"{low:.3f} to {high:.3f}",
      f"{limit:.3f}",
      f"{middle / limit:.3f}",
      *(f"{sizes[key]:,.0f}" for key in ("embedded", "asked", "ids")),
    )
    out.append(f"| {' | '.join(cells)} |")
  return out


if __name__ == "__main__":
  command.define_devices()
  flags.DEFINE_integer("rounds", 3, "Times that each number of processes runs.")
  flags.DEFINE_bool("child", False, "Be one of the processes.")
  app.run(main, flags_parser=command.parse_flags)
