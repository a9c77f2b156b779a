"""Does a long run grow, or slow down?

python -m tests.faults.long_run [--steps=20000]

Trains configs/quickstart.py with small batches on the built-in sample, in a
process of its own, and looks at that process from outside whenever it logs:
resident memory, open files, threads. Warm-up, a tenth of the steps, is left
out. Linux alone tells these things (/proc).
"""

import argparse
from collections.abc import Iterator, Sequence
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any, NamedTuple

import numpy as np

ROOT = pathlib.Path(__file__).parents[2]
LOGS = 200
"""Lines of metrics in a run."""


class Look(NamedTuple):
  """What a process held when it had made a step."""

  step: int
  resident_mb: float
  open_files: int
  threads: int


class Found(NamedTuple):
  """What became of a run, from warm-up to its end."""

  mb_per_1000_steps: float
  """Slope of resident memory, by least squares."""
  more_files: int
  """The most open files in the second half, less the most in the first."""
  more_threads: int
  rate: float
  """Samples a second in the last tenth of the run / in the first one."""


def command(workdir: pathlib.Path, steps: int) -> list[str]:
  return [
    sys.executable,
    "-m",
    "dicm_jax.main",
    f"--config={ROOT / 'configs/quickstart.py'}",
    f"--workdir={workdir}",
    f"--config.train.steps={steps}",
    "--config.train.batch_size=128",
    f"--config.train.log_every_steps={max(steps // LOGS, 1)}",
    f"--config.checkpoint.every_steps={max(steps // 20, 1)}",
  ]


def train(workdir: pathlib.Path, steps: int) -> list[Look]:
  """Trains, and looks at the process while it does."""
  with subprocess.Popen(
    command(workdir, steps),
    cwd=ROOT,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  ) as running:
    try:
      looks = list(_looks(running, workdir / "metrics.jsonl"))
      _, said = running.communicate()
    except BaseException:
      running.kill()
      raise
  if running.returncode:
    raise RuntimeError(f"training ended with {running.returncode}: {said}")
  return looks


def _looks(running: subprocess.Popen, metrics: pathlib.Path) -> Iterator[Look]:
  """A look after each new line of metrics."""
  seen = 0
  while running.poll() is None:
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    if len(lines) > seen:
      seen = len(lines)
      try:
        yield look(running.pid, json.loads(lines[-1])["step"])
      except FileNotFoundError:  # It ended meanwhile.
        return
    time.sleep(0.05)


def look(pid: int, step: int) -> Look:
  """What a living process holds."""
  process = pathlib.Path("/proc") / str(pid)
  status = dict(
    line.split(":", 1) for line in (process / "status").read_text().splitlines()
  )
  return Look(
    step,
    resident_mb=int(status["VmRSS"].split()[0]) / 1024,
    open_files=len(list((process / "fd").iterdir())),
    threads=int(status["Threads"]),
  )


def found(looks: Sequence[Look], rates: Sequence[float]) -> Found:
  """Sums up a run.

  Args:
    looks: in their order.
    rates: samples a second of equal parts of the run, in their order.
  """
  warm = [one for one in looks if one.step >= looks[-1].step / 10]
  steps = np.array([one.step for one in warm])
  memory = np.array([one.resident_mb for one in warm])
  tenth = max(len(rates) // 10, 1)
  first, last = rates[tenth : 2 * tenth], rates[-tenth:]
  return Found(
    mb_per_1000_steps=1000 * float(np.polyfit(steps, memory, 1)[0]),
    more_files=_more([one.open_files for one in warm]),
    more_threads=_more([one.threads for one in warm]),
    rate=float(np.median(last) / np.median(first)),
  )


def _more(counts: Sequence[int]) -> int:
  half = len(counts) // 2
  return max(counts[half:]) - max(counts[:half])


def run(steps: int) -> tuple[Found, dict[str, Any]]:
  """Trains in a folder that is removed; returns figures and what was seen."""
  with tempfile.TemporaryDirectory() as folder:
    workdir = pathlib.Path(folder) / "run"
    looks = train(workdir, steps)
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
  rates = [json.loads(line)["examples_per_s"] for line in lines]
  seen = {
    "steps": steps,
    "looks": len(looks),
    "resident_mb": [round(looks[i].resident_mb) for i in (0, -1)],
    "open_files": [looks[i].open_files for i in (0, -1)],
    "threads": [looks[i].threads for i in (0, -1)],
  }
  return found(looks, rates), seen


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--steps", type=int, default=20_000)
  figures, seen = run(parser.parse_args().steps)
  print(json.dumps(figures._asdict() | seen))


if __name__ == "__main__":
  main()
