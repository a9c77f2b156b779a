"""How fast prepared data become batches, beside the step that eats them.

python -m benchmarks.input [--batches=100]

The sample is written as a log, prepared, and read back. One run measures the
pipeline alone (batches made and dropped) and the training steps alone (on
batches made before); training needs the larger of the two times.
"""

import argparse
import dataclasses
import pathlib
import tempfile
import time

import jax

from benchmarks import report, sample_log
from benchmarks.ablation import QUICKSTART, config_of
from dicm_jax import experiment, train
from dicm_jax.data import prepared


def main() -> None:
  parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
  parser.add_argument("--batches", type=int, default=100)
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    out = sample_log.prepare(pathlib.Path(folder))
    start = time.perf_counter()
    data = prepared.load(out)
    load = time.perf_counter() - start
    config = config_of(QUICKSTART, seed=0)
    steps = dataclasses.replace(config.train, steps=2 * args.batches)
    config = dataclasses.replace(config, train=steps)
    x = experiment.build(config, data=data)
    reading = _reading(x, args.batches)
    training = _training(x, args.batches)
  size = x.batch_size
  print(f"load {data.train.num_samples} samples: {load:.2f} s")
  print(f"pipeline alone  {size / reading:12.0f} samples a second")
  print(f"training alone  {size / training:12.0f} samples a second")
  report.emit(
    value=training / reading,
    unit="rate of the input pipeline / rate of the training step",
    goal=">= 3",
    details={
      "batch_size": size,
      "pipeline_samples_per_s": size / reading,
      "training_samples_per_s": size / training,
      "load_s": load,
    },
  )


def _reading(x: experiment.Experiment, count: int) -> float:
  """Seconds a batch."""
  batches = x.batches(0, 2 * count)
  for _ in range(count):  # What was made ahead of time does not count.
    next(batches)
  start = time.perf_counter()
  for _ in range(count):
    next(batches)
  return (time.perf_counter() - start) / count


def _training(x: experiment.Experiment, count: int) -> float:
  """Seconds a step, without compilations and on ready batches."""
  made = list(x.batches(0, min(count, 20)))
  step, state = train.make_train_step(x.program, x.state), x.state
  for batch in made:  # Compiles all shapes there are.
    state, loss = step(state, x.content, batch)
  jax.block_until_ready(state)
  start = time.perf_counter()
  for i in range(count):
    state, loss = step(state, x.content, made[i % len(made)])
    jax.block_until_ready(loss)
  return (time.perf_counter() - start) / count


if __name__ == "__main__":
  main()
