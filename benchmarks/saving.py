"""What do fingerprints add to saving a checkpoint?

python -m benchmarks.saving [--rows=10000000] [--rounds=3]

Saves the state of configs/quickstart.py, and a table of so many rows of 8
numbers on the device and in host memory, the old checkpoint going as the new
one comes. Training waits for what is `blocking`: the fingerprints, and orbax's
copy of the arrays; `written` is when the checkpoint is whole. The first
fingerprint of a large array on a device waits for a compilation, `first`. All
in seconds, medians over the rounds. The last line's value is the fingerprints'
share of the time until the table on the device is written.
"""

import argparse
import pathlib
import statistics
import tempfile
import time
from typing import Any

import jax
import numpy as np

from benchmarks import report, variants
from dicm_jax import checkpoint, experiment, fingerprint


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--rows", type=int, default=10_000_000)
  parser.add_argument("--rounds", type=int, default=3)
  args = parser.parse_args()
  config = variants.config_of(variants.Variant("quickstart", {}), 0)
  rows = np.random.default_rng(0).standard_normal((args.rows, 8), np.float32)
  states = {
    "quickstart": experiment.build(config).state,
    "device": {"ids": jax.device_put(rows)},
    "host": {"ids": rows},
  }
  found = {name: _measure(state, args.rounds) for name, state in states.items()}
  for name, seconds in found.items():
    said = ", ".join(f"{k} {v:.4f} s" for k, v in seconds.items())
    print(f"{name:12}{said}")
  device = found["device"]
  report.emit(
    value=device["fingerprints"] / device["written"],
    unit="time of the fingerprints / of saving a table on the device",
    goal=None,
    details={"rows": args.rows, "seconds": found},
  )


def _measure(state: Any, rounds: int) -> dict[str, float]:
  start = time.perf_counter()
  fingerprint.of(state)
  first = time.perf_counter() - start
  seconds = {"fingerprints": [], "blocking": [], "written": []}
  with (
    tempfile.TemporaryDirectory() as folder,
    checkpoint.manager(pathlib.Path(folder)) as opened,
  ):
    for step in range(rounds):
      start = time.perf_counter()
      fingerprint.of(state)
      seconds["fingerprints"].append(time.perf_counter() - start)
      start = time.perf_counter()
      checkpoint.save(opened, step, state, {})
      seconds["blocking"].append(time.perf_counter() - start)
      opened.wait_until_finished()
      seconds["written"].append(time.perf_counter() - start)
  medians = {name: statistics.median(all) for name, all in seconds.items()}
  return {"first": first} | medians


if __name__ == "__main__":
  main()
