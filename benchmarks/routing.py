"""What does a (1, 1) mesh cost a step? Nobody to ask: it should be little.

python -m benchmarks.routing [--features=512] [--behaviours=30]

Our step on one device beside a program with no mesh, no buckets and no owners:
rows gathered, one derivative, rows scattered. Same model, same samples, same
losses (tests/benchmarks/peers_test.py). The two take turns in one process; the
last line's value is the median over the rounds of time(ours) / time(plain).
"""

import argparse

import jax.numpy as jnp
import numpy as np

from benchmarks import report, table_size
from benchmarks.peers import runs, unrouted, workload


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--features", type=int, default=workload.FEATURES)
  parser.add_argument("--behaviours", type=int, default=workload.BEHAVIOURS)
  args = parser.parse_args()
  shape = {"features": args.features, "behaviours": args.behaviours}
  x = workload.build(**shape)
  ours = runs.ours(x)
  plain = runs.of_jax(
    x,
    unrouted.make_step(x),
    unrouted.first_state(x),
    jnp.asarray(x.data.frozen("")),
  )
  times = table_size.take_turns([plain, ours])
  ratio = runs.quartiles(times[:, 1] / times[:, 0])
  for name, column in zip(("plain", "ours"), times.T, strict=True):
    print(table_size.line(name, column))
  report.emit(
    value=ratio[1],
    unit="time of a step on a (1, 1) mesh / with no routing",
    goal="<= 1.1",
    spread=(ratio[0], ratio[2]),
    details={
      "median_ms": [float(1e3 * np.median(c)) for c in times.T],
      "pairs": table_size.PAIRS,
      "largest_difference_of_losses": float(
        np.abs(np.subtract(ours.losses, plain.losses)).max()
      ),
      "sizes": workload.sizes(x),
      **shape,
    },
  )


if __name__ == "__main__":
  main()
