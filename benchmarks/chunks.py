"""What does it gain to weigh pairs in chunks, and which size is best?

python -m benchmarks.chunks [--rounds=12]

The default step with about 30 behaviours a user, its attention over all pairs
at once and over chunks of several sizes. The programs take turns step by step.
The last line's value is the median of time(all at once) / time(in chunks of the
size that this device takes).
"""

import argparse
import dataclasses
from unittest import mock

import numpy as np

from benchmarks import report, table_size
from benchmarks.peers import runs, workload
from dicm_jax import experiment, train
from dicm_jax.model import chunks

SIZES = (1 << 12, 1 << 14, 1 << 15, 1 << 16)
AT_ONCE = 1 << 30


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--rounds", type=int, default=12)
  rounds = parser.parse_args().rounds
  x = workload.build()
  sizes = list(dict.fromkeys([AT_ONCE, chunks.rows_at_a_time(), *SIZES]))
  made = [InChunks(size, runs.ours(x)) for size in sizes]
  times = table_size.take_turns(made, rounds=rounds)
  ratios = times[:, :1] / times
  room = [temporary_bytes(x, size) for size in sizes[:2]]
  print(f"memory of a step beside its arguments: {room} bytes")
  for size, column, ratio in zip(sizes, times.T, ratios.T, strict=True):
    print(
      table_size.line(f"{size:>13,} rows", column)
      + f", all at once / this: {np.median(ratio):.3f}"
    )
  low, middle, high = runs.quartiles(ratios[:, 1])
  report.emit(
    value=middle,
    unit="time of a step with all pairs at once / in chunks",
    goal=None,
    spread=(low, high),
    details={
      "rows": sizes,
      "median_ms": [float(1e3 * np.median(c)) for c in times.T],
      "temporary_bytes": room,
      "rounds": rounds,
      "sizes": workload.sizes(x),
    },
  )


def temporary_bytes(x: experiment.Experiment, size: int) -> int:
  """What a step compiled for such chunks takes besides its arguments."""
  with mock.patch.object(chunks, "rows_at_a_time", lambda: size):
    step = train.make_train_step(x.program, x.state)
    batch = next(x.batches(0, 1))
    compiled = step.lower(x.state, x.content, batch).compile()
  found = compiled.memory_analysis()
  assert found is not None
  return found.temp_size_in_bytes


@dataclasses.dataclass
class InChunks:
  """A run whose step is compiled for chunks of so many rows."""

  size: int
  run: runs.Run

  def seconds(self, step: int) -> float:
    with mock.patch.object(chunks, "rows_at_a_time", lambda: self.size):
      return self.run.seconds(step)


if __name__ == "__main__":
  main()
