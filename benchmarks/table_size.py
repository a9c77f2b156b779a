"""Does a step's time depend on the rows of a table? It must not.

python -m benchmarks.table_size [--cpu_devices=8] [--table=ids|content]

Trains the default model on the sample's batches with an ID table of 10
thousand and of 10 million rows (the sample's own rows lie spread over them),
on one device, or on simulated ones that ask one another for their rows. With
--table=content it is the image table that grows, its features 8 random numbers
a picture so that 10 million take 320 MB.
The two programs take turns, step by step, in one process, so that what else
the machine does hits both alike. The last line's value is the median over the
pairs of time(10 million) / time(10 thousand).
"""

from collections.abc import Sequence
import dataclasses
import pathlib
import runpy
import time
from typing import Protocol

from absl import app, flags
import jax
from jaxtyping import Float
import numpy as np

from benchmarks import report
from benchmarks.peers import workload
from dicm_jax import command, experiment, train
from dicm_jax import config as config_lib
from dicm_jax.data import click_log, feature_files, held_rows, sample
from dicm_jax.sharding import mesh as mesh_lib

SIZES = (10_000, 10_000_000)
WARM_UP, PAIRS = 5, 40
CONTENT_WIDTH = 8
"""Numbers of a picture's features where the image table grows."""
QUICKSTART = pathlib.Path(__file__).parents[1] / "configs" / "quickstart.py"


def main(argv: list[str]) -> None:
  del argv
  command.start(flags.FLAGS)
  which = flags.FLAGS.table
  runs = [TABLES[which](size) for size in SIZES]
  times = take_turns(runs)
  ratios = times[:, 1] / times[:, 0]
  for size, column in zip(SIZES, times.T, strict=True):
    print(line(f"{size:>11,} rows", column))
  low, high = np.percentile(ratios, (25, 75))
  print(
    f"ratio: median {np.median(ratios):.3f}, quartiles {low:.3f} {high:.3f}"
  )
  report.emit(
    value=float(np.median(ratios)),
    unit="time of a step at 10 million rows / at 10 thousand",
    goal="<= 1.1",
    spread=(float(low), float(high)),
    details={
      "table": which,
      "median_ms": [float(1e3 * np.median(c)) for c in times.T],
      "pairs": PAIRS,
      "batch_size": runs[0].x.batch_size,
      "table_bytes": [run.nbytes(which) for run in runs],
    },
  )


def with_ids(num_rows: int) -> "Run":
  """A run whose ID table has so many rows."""
  data = spread_rows(sample.generate(0).dataset, num_rows)
  return Run(experiment.build(quickstart(), data=data))


def with_content(num_rows: int) -> "Run":
  """A run whose image table has so many rows."""
  data = spread_pictures(sample.generate(0).dataset, num_rows)
  config = quickstart()
  image = dataclasses.replace(config.image, backbone=feature_files.PRECOMPUTED)
  config = dataclasses.replace(config, image=image)
  return Run(experiment.build(config, data=data))


def quickstart() -> config_lib.Config:
  values = runpy.run_path(str(QUICKSTART))["get_config"]().to_dict()
  return config_lib.from_dict(values)


def spread_pictures(
  data: click_log.Dataset, num_rows: int
) -> click_log.Dataset:
  """The same log with its pictures spread over a table of `num_rows`."""
  stride = num_rows // len(data.image_names)
  rng = np.random.default_rng(0)
  vectors = rng.standard_normal((num_rows, CONTENT_WIDTH), np.float32)

  def move(log: click_log.ClickLog) -> click_log.ClickLog:
    history = log.behaviour_images
    return dataclasses.replace(
      log,
      ad_image=log.ad_image * stride,
      behaviour_images=history._replace(values=history.values * stride),
    )

  return dataclasses.replace(
    data,
    train=move(data.train),
    test=move(data.test),
    image_names=("",) * num_rows,
    image_bytes=(b"",) * num_rows,
    held=lambda *_: held_rows.HeldRows(vectors),
  )


def spread_rows(data: click_log.Dataset, num_rows: int) -> click_log.Dataset:
  """The same log with its ID rows spread over a table of `num_rows`."""
  total = sum(f.rows for f in data.features)
  rows = {f.name: num_rows * f.rows // total for f in data.features}
  stride = {f.name: rows[f.name] // f.rows for f in data.features}

  def move(log: click_log.ClickLog) -> click_log.ClickLog:
    return dataclasses.replace(
      log,
      user_ids={
        k: v._replace(values=v.values * stride[k])
        for k, v in log.user_ids.items()
      },
      ad_ids={k: v * stride[k] for k, v in log.ad_ids.items()},
    )

  features = tuple(
    dataclasses.replace(f, rows=rows[f.name]) for f in data.features
  )
  return dataclasses.replace(
    data, features=features, train=move(data.train), test=move(data.test)
  )


class Run:
  """A training run that times its own steps."""

  def __init__(self, x: experiment.Experiment):
    self.x, self.state = x, x.state
    self.step = train.make_train_step(x.program, x.state)

  def nbytes(self, table: str) -> int:
    """Size of a table over all devices."""
    held = {"ids": self.state.ids, "content": self.x.content.table}
    return held[table].nbytes

  def seconds(self, step: int) -> float:
    """Runs one step and returns its time, that of making the batch left out."""
    batch = workload.batch_of(self.x, step)
    batch = mesh_lib.put_slices(self.x.program.mesh, batch)
    jax.block_until_ready(batch)
    start = time.perf_counter()
    self.state, loss = self.step(self.state, self.x.content, batch)
    jax.block_until_ready((self.state, loss))
    return time.perf_counter() - start


TABLES = {"ids": with_ids, "content": with_content}
"""Which table grows -> a run with so many rows of it."""


class Timed(Protocol):
  """Something that runs a step and says how long it took."""

  def seconds(self, step: int) -> float: ...


def take_turns(
  runs: Sequence[Timed], *, warm_up: int = WARM_UP, rounds: int = PAIRS
) -> Float[np.ndarray, "rounds runs"]:
  """Seconds of each run's steps, one step of each in turn, warmed up."""
  times = [
    [run.seconds(step) for run in runs] for step in range(warm_up + rounds)
  ]
  return np.array(times[warm_up:])


def line(name: str, seconds: Float[np.ndarray, " n"]) -> str:
  """What is said of a run's times."""
  return (
    f"{name}: median {1e3 * np.median(seconds):.2f} ms a step, "
    f"min {1e3 * seconds.min():.2f}, max {1e3 * seconds.max():.2f}"
  )


if __name__ == "__main__":
  command.define_devices()
  flags.DEFINE_enum("table", "ids", list(TABLES), "Which table grows.")
  app.run(main, flags_parser=command.parse_flags)
