"""What does an embedding module cost an LR, in time and in memory?

python -m benchmarks.unified_cost [--cpu_devices=8]

Trains configs/lr_unified.py on the sample's batches: the LR alone, and with a
module of products and of a DNN, jointly, over embeddings of 32 numbers (as an
encoder trained on pairs makes them) and of 512 (SqueezeNet's). The LR has the
sample's six fields, and then 39 as Criteo's log has, by crosses of user and
picture; its table has 10 million rows. The programs take turns, step by step,
in one process. The last line's value is the largest median over the rounds of
time(joint) / time(LR alone) with the large LR and embeddings of 32. Then the
step is compiled for an ID table of 10 thousand and of 10 million rows: besides
the tables themselves it must need the same memory, as no gradient of theirs is
ever dense.
"""

import dataclasses

from absl import app, flags
import jax
import numpy as np

from benchmarks import report, table_size, variants
from benchmarks.peers import workload
from dicm_jax import command, experiment, train
from dicm_jax.data import click_log, feature_files, sample

FIELDS = 39
"""Of a large LR: Criteo's display advertising challenge has 13 + 26."""
ROWS = 10_000_000
WIDTHS = (32, 512)
ALONE = "LR alone"
PROGRAMS = {
  ALONE: {"model.images": "none"},
  "product": {"model.structure": "product"},
  "dnn of 64": {"model.structure": "dnn", "model.hidden_widths": (64,)},
  "dnn of 200, 80": {"model.structure": "dnn"},
}


def main(argv: list[str]) -> None:
  del argv
  command.start(flags.FLAGS)
  small = sample.generate(0).dataset
  large = with_crosses(small, FIELDS - len(small.features))
  found = {}
  for data in (small, large):
    fields = len(data.features)
    found[fields] = ratios_of(table_size.spread_rows(data, ROWS))
    for name, (low, middle, high) in found[fields].items():
      print(
        f"{fields} fields, {name} / LR alone: {middle:.3f}, "
        f"quartiles {low:.3f} {high:.3f}"
      )
  memory = {size: memory_of(small, size) for size in table_size.SIZES}
  for size, parts in memory.items():
    sizes = ", ".join(f"{part} {n:,}" for part, n in parts.items())
    print(f"{size:>11,} rows, bytes: {sizes}")
  narrow = [q for n, q in found[FIELDS].items() if n.endswith(f" {WIDTHS[0]}")]
  low, middle, high = max(narrow, key=lambda quartiles: quartiles[1])
  report.emit(
    value=middle,
    unit="time of a joint step / of a step of the large LR alone",
    goal="<= 1.5",
    spread=(low, high),
    details={
      "quartiles_and_median": found,
      "rounds": table_size.PAIRS,
      "memory_bytes": memory,
    },
  )


def with_crosses(data: click_log.Dataset, count: int) -> click_log.Dataset:
  """The log with `count` more ID fields of the ad side.

  Cross k tells users apart by their number modulo k + 2, and pictures all, as
  crosses of a user's segment with an item do.
  """
  pictures = len(data.image_names)

  def rows(log: click_log.ClickLog, k: int):
    return 1 + log.user[log.group] % (k + 2) * pictures + log.ad_image

  def crossed(log: click_log.ClickLog) -> click_log.ClickLog:
    more = {f"cross_{k}": rows(log, k) for k in range(count)}
    return dataclasses.replace(log, ad_ids=log.ad_ids | more)

  more = tuple(
    click_log.Feature(name=f"cross_{k}", side="ad", rows=1 + (k + 2) * pictures)
    for k in range(count)
  )
  return dataclasses.replace(
    data,
    features=data.features + more,
    train=crossed(data.train),
    test=crossed(data.test),
  )


def ratios_of(data: click_log.Dataset) -> dict[str, list[float]]:
  """Quartiles of time(joint) / time(LR alone), by module and width."""
  names = [ALONE] + [f"{n} {w}" for n in PROGRAMS if n != ALONE for w in WIDTHS]
  runs = [build(data, *name.rsplit(" ", 1)) for name in names[1:]]
  times = table_size.take_turns([build(data, ALONE, "32"), *runs])
  for name, column in zip(names, times.T, strict=True):
    print(table_size.line(f"{len(data.features)} fields, {name}", column))
  ratios = times[:, 1:] / times[:, :1]
  quartiles = np.percentile(ratios, (25, 50, 75), axis=0)
  return dict(zip(names[1:], quartiles.T.tolist(), strict=True))


def build(data: click_log.Dataset, name: str, width: str) -> table_size.Run:
  """A run whose pictures have random vectors of so many numbers."""
  values = PROGRAMS[name] | {
    "image.backbone": feature_files.PRECOMPUTED,
    "model.frozen_width": int(width),
  }
  config = variants.config_of(variants.Variant("lr_unified", values), 0)
  data = workload.with_vectors(data, int(width))
  return table_size.Run(experiment.build(config, data=data))


def memory_of(data: click_log.Dataset, num_rows: int) -> dict[str, int]:
  """Bytes on a device: tables with their slots, and what a step needs else."""
  run = build(table_size.spread_rows(data, num_rows), "product", "512")
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
