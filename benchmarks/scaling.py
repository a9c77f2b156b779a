"""What does a device send and hold, as devices are added?

python -m benchmarks.scaling [--batch_per_device=4096] [--config_name=dicm]

The step is compiled, not run, for 1 to 32 simulated devices, each number in a
process of its own; no table is allocated. Bytes are those of the compiled HLO's
collectives (`dicm_jax.sharding.ledger`), beside the least for the same batch:
of its distinct rows a device needs those that others own, so for each a row
number goes out, 4 bytes, a vector of D floats comes in and a gradient leaves;
dense gradients take a ring, 2 (N - 1) / N of their size. The first batch of
training is counted; how many rounds its exchanges take is counted too.

With --batch_per_device=0 all devices share one batch of 4 096, so that slices
become small and padding, which goes with the square root of what an owner is
asked for, large. The last line's value is the largest ratio over all N of what
is sent for ids and images, the ring left out: it meets its bound and outweighs
all else.
"""

from collections.abc import Sequence
import dataclasses
import json
import math
import os
import pathlib
import runpy
import subprocess
import sys

from absl import app, flags
import jax
import numpy as np

from benchmarks import report
from dicm_jax import command, train
from dicm_jax import config as config_lib
from dicm_jax.data import pipeline, sample
from dicm_jax.planning import encoder, shapes, traffic, workload
from dicm_jax.program import Program
from dicm_jax.sharding import ledger, mesh, route, table
from dicm_jax.sharding.table import EMPTY

DEVICES = (1, 2, 4, 8, 16, 32)
SHARED_BATCH = 4096
PARTS = {"ids": "ids.", "images": "images.", "dense": "dense.gradients"}
"""Parts of the traffic, and what their named scopes have in common."""
CONFIGS = pathlib.Path(__file__).parents[1] / "configs"

_BATCH = flags.DEFINE_integer(
  "batch_per_device", 4096, "Samples of a device; 0: 4 096 over all devices."
)
_CONFIG = flags.DEFINE_string("config_name", "dicm", "A file of configs/.")
_ONLY = flags.DEFINE_integer("only", 0, "Devices, in the processes started.")


def main(argv: list[str]) -> None:
  del argv
  if _ONLY.value:
    print(json.dumps(measure(_ONLY.value)))
    return
  found = [in_process(devices) for devices in DEVICES]
  print("\n".join(lines(found)))
  ratios = [exchanged(row) for row in found[1:]]
  shares = [
    row["tables"] * row["devices"] / found[0]["tables"] for row in found
  ]
  report.emit(
    value=max(ratios),
    unit="bytes a device sends for ids and images / lower bound, the largest",
    goal="<= 1.25",
    others=[
      report.Figure(
        "tables of a device x N / whole tables, the largest distance from 1",
        max(abs(share - 1) for share in shares),
        "<= 0.05",
      )
    ],
    details={
      "config": _CONFIG.value,
      "batch_per_device": _BATCH.value or f"{SHARED_BATCH} / N",
      "with_dense_gradients": max(r["sent"] / r["bound"] for r in found[1:]),
      "table_share_x_devices": shares,
      "by_devices": found,
    },
  )


def exchanged(row: dict) -> float:
  """All that is sent but dense gradients, over the least of it."""
  sent = row["sent"] - row["parts"]["dense"]
  return sent / (row["bound"] - row["bounds"]["dense"])


def in_process(devices: int) -> dict:
  """Measures in a process with so many simulated devices."""
  count = f"--xla_force_host_platform_device_count={devices}"
  made = subprocess.run(
    [
      *(sys.executable, "-m", "benchmarks.scaling", f"--only={devices}"),
      f"--batch_per_device={_BATCH.value}",
      f"--config_name={_CONFIG.value}",
    ],
    env=os.environ | {"XLA_FLAGS": count, "JAX_PLATFORMS": "cpu"},
    check=True,
    stdout=subprocess.PIPE,
    text=True,
  )
  return json.loads(made.stdout.splitlines()[-1])


def measure(devices: int) -> dict:
  """Compiles the step for all devices that there are, as servers."""
  config, data = _config(devices), sample.generate(0).dataset
  probed = workload.probe(config, data, devices)
  load = workload.measured(config, data, probed, 1, devices)
  made = shapes.of_step(config, load, encoder.of_config(config))
  where = mesh.make_mesh(1, devices)
  program = shapes.program(config, load, made, where)
  step = train.make_train_step(program, made.state)
  state, content, batch = shapes.on_mesh(made, where)
  compiled = step.lower(state, content, batch).compile()
  found = ledger.collectives(compiled.as_text() or "", num_devices=devices)
  rounds = _rounds(program, probed[:devices])
  bounds = _bounds(program, traffic.num_parameters(made), probed[:devices])
  return {
    "devices": devices,
    **_sent(found, rounds),
    "bound": sum(bounds.values()),
    "bounds": bounds,
    "rounds": rounds,
    "tables": _on_device((state.ids, state.id_slots, content.table)),
    "arguments": compiled.memory_analysis().argument_size_in_bytes,
  }


def _config(devices: int) -> config_lib.Config:
  values = runpy.run_path(str(CONFIGS / f"{_CONFIG.value}.py"))["get_config"]()
  config = config_lib.from_dict(values.to_dict())
  size = _BATCH.value * devices or SHARED_BATCH
  train_config = dataclasses.replace(config.train, batch_size=size)
  return dataclasses.replace(config, train=train_config)


def _on_device(tables) -> float:
  """Bytes of one device's shards."""
  return float(
    sum(
      math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
      for leaf in jax.tree.leaves(tables)
    )
  )


def _rounds(
  program: Program, slices: Sequence[pipeline.Probed]
) -> dict[str, int]:
  """Rounds that the first batch's exchanges take, by route."""

  def padded(rows: list[np.ndarray]) -> np.ndarray:
    size = max(map(len, rows))
    return np.stack(
      [np.pad(r, (0, size - len(r)), constant_values=EMPTY) for r in rows]
    )

  ids = padded([piece.id_rows for piece in slices])
  images = padded([piece.image_rows for piece in slices])
  return {
    "ids": route.rounds(program.id_route, ids),
    "images": route.rounds(program.image_route, images),
  }


def _sent(
  found: Sequence[ledger.Collective], rounds: dict[str, int]
) -> dict[str, float]:
  """Bytes of a device: by part in the first rounds, and of further ones."""
  parts = dict.fromkeys([*PARTS, "limits, loss"], 0.0)
  further = 0.0
  for one in found:
    name = next((p for p in PARTS if PARTS[p] in one.scope), "limits, loss")
    if one.in_loop:
      route_name = "ids" if "ids." in one.scope else "images"
      further += one.wire_bytes * (rounds[route_name] - 1)
    else:
      small = ".limits" in one.scope
      parts["limits, loss" if small else name] += one.wire_bytes
  return {
    "sent": further + sum(parts.values()),
    "parts": parts,
    "further_rounds": further,
  }


def _bounds(
  program: Program, parameters: int, slices: Sequence[pipeline.Probed]
) -> dict[str, float]:
  """The least that a device sends, in the mean over the devices."""
  model, devices = program.model, len(slices)

  def others(rows: list[np.ndarray], owners: int) -> float:
    away = [
      np.count_nonzero(table.owner_of(r, owners) != device % owners)
      for device, r in enumerate(rows)
    ]
    return float(np.mean(away))

  ids = others([piece.id_rows for piece in slices], devices)
  images = others([piece.image_rows for piece in slices], devices)
  numbers = model.image_vector + model.trained_width
  return {
    "ids": 4 * (1 + 2 * model.id_width) * ids,
    "images": 4 * (1 + numbers) * images,
    "dense": 4 * parameters * 2 * (devices - 1) / devices,
  }


def lines(found: Sequence[dict]) -> list[str]:
  """The figures as a table of docs/scaling.md."""
  head = (
    "| devices | sent | lower bound | ratio | ids and images | ids | images | "
    "dense | further rounds | limits, loss | tables, MB | x N / whole |"
  )
  out = [head, "|" + " ---: |" * 12]
  for row in found:
    parts, bounds = row["parts"], row["bounds"]
    each = [_ratio(parts[name], bounds[name]) for name in PARTS]
    share = row["tables"] * row["devices"] / found[0]["tables"]
    cells = (
      row["devices"],
      f"{row['sent']:,.0f}",
      f"{row['bound']:,.0f}",
      _ratio(row["sent"], row["bound"]),
      f"{exchanged(row):.3f}" if row["bound"] else "-",
      *each,
      f"{row['further_rounds']:,.0f}",
      f"{parts['limits, loss']:,.0f}",
      f"{row['tables'] / 1e6:.3f}",
      f"{share:.3f}",
    )
    out.append(f"| {' | '.join(map(str, cells))} |")
  return out


def _ratio(sent: float, bound: float) -> str:
  return f"{sent / bound:.3f}" if bound else "-"


if __name__ == "__main__":
  app.run(main, flags_parser=command.parse_flags)
