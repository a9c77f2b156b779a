"""How much training on the sample is too much, and what a warm-up then does.

python -m benchmarks.overfitting [--seeds=2]

The DICM paper finds that a full warm-up, ID embeddings and all, is worse than
none, for they overfit. Here `mlp + both` of benchmarks.paper_tables is trained
for longer and longer, and warm-ups start from a run of each length. Clicks are
SIMULATED; a seed draws the world as well as the first weights.
"""

import argparse

import numpy as np

from benchmarks import report, variants
from dicm_jax.data import sample

LENGTHS = (300, 1200)
"""Steps of 4 096 samples: 4 and 16 passes over the training split."""


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--seeds", type=int, default=2)
  args = parser.parse_args()
  by_seed = [measured(seed) for seed in range(args.seeds)]
  gauc = {
    name: [scores[name]["gauc"] for scores in by_seed] for name in by_seed[0]
  }
  for name, values in gauc.items():
    print(
      f"{name:32} GAUC {np.mean(values):.4f}  by seed {np.round(values, 4)}"
    )
  longest = LENGTHS[-1]
  lost = np.array(gauc[f"partial after {longest}"]) - np.array(
    gauc[f"full after {longest}"]
  )
  report.emit(
    value=float(lost.mean()),
    unit=f"GAUC of partial less full warm-up after {longest} steps",
    goal=None,
    details={"gauc": gauc},
  )


def measured(seed: int) -> dict[str, variants.Scores]:
  """Scores by length of the run, or of the run that a warm-up starts from."""
  world = sample.generate(seed)
  out = {}
  for steps in LENGTHS:
    made = variants.Variant(values=schedule(steps))
    out[f"all days, {steps} steps"] = variants.score(made, seed, world.dataset)
    warmed = variants.warm_up_scores(seed, world, first=schedule(steps))
    for mode in variants.WARM_UPS:
      out[f"{mode} after {steps}"] = warmed[mode]
  for name, scores in out.items():
    print(f"seed {seed}: {name}: {scores['gauc']:.4f}", flush=True)
  return out


def schedule(steps: int) -> dict[str, int]:
  """So many steps, the learning rate's course drawn out alike."""
  return {"train.steps": steps, "dense_optimizer.decay_steps": steps // 3}


if __name__ == "__main__":
  main()
