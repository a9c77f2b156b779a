"""Our step beside the same work in PyTorch, TorchRec and FuxiCTR.

python -m benchmarks.peers_step [--features=512] [--behaviours=30]

All train the default model (configs/quickstart.py on cached features) from the
same first values on the same samples; `tests/benchmarks/peers_test.py` holds
their losses equal. Programs: ours on one device; PyTorch that counts each row
once, as we do, with and without TorchRec's tables; PyTorch as it is first
written, no row counted once. And DIN: ours, which trains image layers as well,
beside FuxiCTR's, whose pictures are vectors in the batch: not the same model.
Each pair takes turns in one process, 2 threads each; making batches is left
out. Programs whose package is missing are named and left out; pyproject.toml
says how to install them, at the extra `peers`. The last line's value is the
median over the rounds of time(PyTorch, rows once) / time(ours).
"""

import argparse
from collections.abc import Callable, Sequence
import importlib.util

import numpy as np

from benchmarks import report, table_size
from benchmarks.peers import runs, workload
from dicm_jax import experiment

WARM_UP = 3
OURS = "ours"
GOALS = {"PyTorch, rows once": ">= 1", "PyTorch, naive": ">= 5"}


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--features", type=int, default=workload.FEATURES)
  parser.add_argument("--behaviours", type=int, default=workload.BEHAVIOURS)
  parser.add_argument("--rounds", type=int, default=30)
  args = parser.parse_args()
  shape = {"features": args.features, "behaviours": args.behaviours}
  x = workload.build(**shape)
  sizes = workload.sizes(x)
  print(sizes)
  found = {
    name: compare(name, make, x, args.rounds)
    for name, make in PEERS.items()
    if there(name)
  }
  if there("FuxiCTR DIN"):
    found["FuxiCTR DIN"] = compare(
      "FuxiCTR DIN", _fuxictr, workload.build(file="din", **shape), args.rounds
    )
  first, *others = [_figure(name, one["ratio"]) for name, one in found.items()]
  report.emit(
    **first._asdict(),
    others=others,
    details={"ratio_quartiles_and_ms": found, "sizes": sizes, **shape},
  )


def _figure(name: str, quartiles: Sequence[float]) -> report.Figure:
  low, middle, high = quartiles
  unit = f"time of a step of {name} / of ours"
  return report.Figure(unit, middle, GOALS.get(name), (low, high))


NEEDS = {
  "PyTorch, rows once": "torch",
  "PyTorch, naive": "torch",
  "TorchRec": "torchrec",
  "FuxiCTR DIN": "fuxictr",
}


def there(name: str) -> bool:
  """Whether a program's package is installed; says so if not."""
  if importlib.util.find_spec(NEEDS[name]):
    return True
  print(f"{name}: left out, {NEEDS[name]} is not installed")
  return False


def compare(
  name: str,
  make: Callable[[experiment.Experiment], runs.Run],
  x: experiment.Experiment,
  rounds: int,
) -> dict[str, list[float]]:
  """Quartiles of time(peer) / time(ours), and medians of both."""
  ours = runs.ours(x)
  if "naive" in name:
    rounds = min(rounds, 10)
  times = table_size.take_turns([ours, make(x)], warm_up=WARM_UP, rounds=rounds)
  ratio = runs.quartiles(times[:, 1] / times[:, 0])
  for label, column in zip((OURS, name), times.T, strict=True):
    print(table_size.line(label, column))
  print(f"{name} / ours: quartiles and median {np.round(ratio, 3)}", flush=True)
  return {
    "ratio": ratio,
    "median_ms": [float(1e3 * np.median(c)) for c in times.T],
  }


# Imported where they are made: a peer may be missing.
def _rows_once(x: experiment.Experiment) -> runs.Run:
  from benchmarks.peers import torch_dicm

  return runs.Run(x, torch_dicm.batch_of, torch_dicm.Trainer(x).step)


def _naive(x: experiment.Experiment) -> runs.Run:
  from benchmarks.peers import torch_naive

  return runs.Run(x, torch_naive.batch_of, torch_naive.Trainer(x).step)


def _torchrec(x: experiment.Experiment) -> runs.Run:
  from benchmarks.peers import torchrec_dicm

  return runs.Run(x, torchrec_dicm.batch_of, torchrec_dicm.Trainer(x).step)


def _fuxictr(x: experiment.Experiment) -> runs.Run:
  from benchmarks.peers import fuxictr_din

  return runs.Run(x, fuxictr_din.batch_of, fuxictr_din.Trainer(x).step)


PEERS = {
  "PyTorch, rows once": _rows_once,
  "PyTorch, naive": _naive,
  "TorchRec": _torchrec,
}


if __name__ == "__main__":
  main()
