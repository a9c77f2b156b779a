"""The paper's three ways to train with images, timed on one exchange.

python -m benchmarks.strategies [--cpu_devices=8] [--features=512]

Table 2 of "Image Matters" (https://arxiv.org/abs/1711.06505) in kind: our step
(Advanced Model Server) beside PS-server (features travel to the workers) and
PS-worker (features lie with the samples), see benchmarks/peers/strategies.py.
Equal losses, tested. They take turns in one process; batches are made and laid
over the devices before the clock starts, so PS-worker's own reading of its
features from disk is left out. Printed beside the times: bytes that a device
sends in a step, as the compiled program says, and bytes of a batch. The last
line's value is the median over the rounds of time(PS-server) / time(AMS).
"""

import functools

from absl import app, flags
import jax
import numpy as np

from benchmarks import report, table_size
from benchmarks.peers import runs, strategies, workload
from dicm_jax import command, experiment
from dicm_jax.sharding import ledger
from dicm_jax.sharding import mesh as mesh_lib

ROUNDS = 25


def main(argv: list[str]) -> None:
  del argv
  command.start(flags.FLAGS)
  features = flags.FLAGS.features
  x = workload.build(features=features)
  made = {name: strategies.make_step(name, x) for name in strategies.STRATEGIES}
  bytes_of = {name: sizes_of(name, step, x) for name, step in made.items()}
  times = table_size.take_turns(
    [run_of(name, step, x) for name, step in made.items()], rounds=ROUNDS
  )
  ratios = {}
  for name, column in zip(made, times.T, strict=True):
    ratios[name] = runs.quartiles(column / times[:, 0])
    print(table_size.line(f"{name:10}", column), bytes_of[name])
  figures = [
    report.Figure(f"time of a {name} step / of ours", middle, None, (low, high))
    for name, (low, middle, high) in ratios.items()
  ]
  _, server, *others = figures  # The first is ours beside itself.
  report.emit(
    **server._asdict(),
    others=others,
    details={
      "median_ms": [float(1e3 * np.median(c)) for c in times.T],
      "bytes": bytes_of,
      "rounds": ROUNDS,
      "features": features,
      "sizes": workload.sizes(x),
    },
  )


def run_of(name: str, step, x: experiment.Experiment) -> runs.Run:
  prepare = functools.partial(strategies.batch_of, name)
  return runs.of_jax(x, step, x.state, x.content, prepare=prepare)


def sizes_of(name: str, step, x: experiment.Experiment) -> dict[str, float]:
  """Bytes of a batch, and what a device sends in a step of one round."""
  batch = strategies.batch_of(name, x, workload.batch_of(x, 0))
  placed = mesh_lib.put_slices(x.program.mesh, batch)
  text = step.lower(x.state, x.content, placed).compile().as_text()
  found = ledger.collectives(text or "", num_devices=x.program.mesh.size)
  return {
    "batch": sum(leaf.nbytes for leaf in jax.tree.leaves(batch)),
    "sent_by_a_device": ledger.wire_bytes(found, ""),
  }


if __name__ == "__main__":
  command.define_devices()
  flags.DEFINE_integer(
    "features", workload.FEATURES, "Numbers of a picture's features."
  )
  app.run(main, flags_parser=command.parse_flags)
