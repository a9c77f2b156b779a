"""What does it cost that a step looks at its numbers before it writes them?

python -m benchmarks.guard [--cpu_devices=2]

Trains the default model on the sample's batches by the step as it is, and by
one whose numbers all pass for finite, so that XLA drops the guard. The two take
turns, step by step, in one process. The last line's value is the median over
the pairs of time(guarded) / time(not guarded).
"""

from unittest import mock

from absl import app, flags
import jax.numpy as jnp
import numpy as np

from benchmarks import report, table_size
from dicm_jax import command, experiment, train

PAIRS = 200


def main(argv: list[str]) -> None:
  del argv
  command.start(flags.FLAGS)
  config = table_size.quickstart()
  guarded, free = (table_size.Run(experiment.build(config)) for _ in range(2))
  with mock.patch.object(train, "is_sound", lambda *_: jnp.array(True)):
    free.seconds(0)  # Compiles it.
  times = table_size.take_turns((guarded, free), rounds=PAIRS)
  for name, column in zip(("guarded", "not guarded"), times.T, strict=True):
    print(table_size.line(name, column))
  ratios = times[:, 0] / times[:, 1]
  low, high = np.percentile(ratios, (25, 75))
  report.emit(
    value=float(np.median(ratios)),
    unit="time of a step / of one that does not look at its numbers",
    goal="<= 1.02",
    spread=(float(low), float(high)),
    details={
      "median_ms": [float(1e3 * np.median(c)) for c in times.T],
      "pairs": PAIRS,
      "batch_size": guarded.x.batch_size,
    },
  )


if __name__ == "__main__":
  command.define_devices()
  app.run(main, flags_parser=command.parse_flags)
