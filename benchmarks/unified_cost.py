"""What does an embedding module cost a large LR, in time and in memory?

python -m benchmarks.unified_cost [--cpu_devices=8]

Trains configs/lr_unified.py on the sample's batches: the LR alone, and with a
module of products and of a DNN, jointly. The programs take turns, step by step,
in one process. The last line's value is the larger of the two medians over the
rounds of time(joint) / time(LR alone). Then the step is compiled for an ID
table of 10 thousand and of 10 million rows: besides the tables themselves it
must need the same memory, as no gradient of theirs is ever dense.
"""

from absl import app, flags
import jax
import numpy as np

from benchmarks import report, table_size, variants
from dicm_jax import command, experiment, train
from dicm_jax.data import click_log, sample

PROGRAMS = {
  "LR alone": {"model.images": "none"},
  "joint, product": {"model.structure": "product"},
  "joint, dnn": {
    "model.structure": "dnn",
    "dense_optimizer.learning_rate": 0.001,
  },
}


def main(argv: list[str]) -> None:
  del argv
  command.start(flags.FLAGS)
  data = sample.generate(0).dataset
  times = table_size.take_turns([build(name, data) for name in PROGRAMS])
  ratios = times[:, 1:] / times[:, :1]
  for name, column in zip(PROGRAMS, times.T, strict=True):
    print(table_size.line(name, column))
  found = {}
  for name, column in zip([*PROGRAMS][1:], ratios.T, strict=True):
    low, middle, high = np.percentile(column, (25, 50, 75))
    print(f"{name} / LR alone: {middle:.3f}, quartiles {low:.3f} {high:.3f}")
    found[name] = [float(low), float(middle), float(high)]
  memory = {size: memory_of(data, size) for size in table_size.SIZES}
  for size, parts in memory.items():
    sizes = ", ".join(f"{part} {n:,}" for part, n in parts.items())
    print(f"{size:>11,} rows, bytes: {sizes}")
  report.emit(
    value=max(middle for _, middle, _ in found.values()),
    unit="time of a joint step / of a step of the LR alone",
    goal="<= 1.5",
    details={
      "quartiles_and_median": found,
      "median_ms": dict(
        zip(PROGRAMS, np.median(1e3 * times, axis=0).tolist(), strict=True)
      ),
      "rounds": len(times),
      "memory_bytes": memory,
    },
  )


def build(name: str, data: click_log.Dataset) -> table_size.Run:
  config = variants.config_of(variants.Variant("lr_unified", PROGRAMS[name]), 0)
  return table_size.Run(experiment.build(config, data=data))


def memory_of(data: click_log.Dataset, num_rows: int) -> dict[str, int]:
  """Bytes on a device: tables with their slots, and what a step needs else."""
  run = build("joint, product", table_size.spread_rows(data, num_rows))
  x, state = run.x, run.state
  batch = next(x.batches(0, 1))
  step = train.make_train_step(x.program, state)
  made = step.lower(state, x.content, batch).compile().memory_analysis()
  tables = jax.tree.leaves((state.ids, state.id_slots))
  return {
    "tables": sum(t.addressable_shards[0].data.nbytes for t in tables),
    "temporary": made.temp_size_in_bytes,
    "arguments": made.argument_size_in_bytes,
    "aliased": made.alias_size_in_bytes,
  }


if __name__ == "__main__":
  command.define_devices()
  app.run(main, flags_parser=command.parse_flags)
