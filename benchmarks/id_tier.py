"""What does a step cost whose ID table lies in host memory?

python -m benchmarks.id_tier [--rows=8000000] [--rounds=8]

Random clicks with 8 ID fields of so many rows together, frequent rows among
them, and the default net on ids alone: a short step, so there is little behind
which copies could hide. Two runs take turns, 20 steps at a time, with the
table and its Adagrad sums on the device and on the host. Batches are made
before the clock starts; it stops when the host has all rows back. The last
line's value is the median over the turns of time(host) / time(device).

On a CPU device and host are one memory and share the processors.
"""

import functools
import itertools
import time

from absl import app, flags
import jax
import numpy as np

from benchmarks import report, table_size, variants
from benchmarks.peers import runs as runs_lib
from dicm_jax import command, experiment, optim, training
from dicm_jax import state as state_lib
from dicm_jax.data import click_log

GROUPS, SAMPLES, FIELDS = 20_000, 10, 8
BATCH, TURN = 4096, 20


def main(argv: list[str]) -> None:
  del argv
  command.start(flags.FLAGS)
  rounds, data = flags.FLAGS.rounds, clicks(flags.FLAGS.rows)
  turns = 1 + rounds  # The first warms up.
  runs = [Run(data, tier, turns) for tier in optim.TIERS]
  times = table_size.take_turns(runs, warm_up=1, rounds=rounds) / TURN
  for tier, column in zip(optim.TIERS, times.T, strict=True):
    print(table_size.line(f"{tier:8}", column))
  ratios = times[:, 1] / times[:, 0]
  low, middle, high = runs_lib.quartiles(ratios)
  on_host = runs[1]
  report.emit(
    value=middle,
    unit="time of a step with the ID table on the host / on the device",
    goal=None,
    spread=(low, high),
    details={
      "median_ms": [float(1e3 * np.median(column)) for column in times.T],
      "batch_size": BATCH,
      "table_bytes": sum(a.nbytes for a in state_lib.rows_of(on_host.x.state)),
      "rows_of_a_step": on_host.rows,
      # And for each place of the window where the one before has its row.
      "bytes_to_the_device_a_step": on_host.window_bytes + on_host.index_bytes,
      "bytes_back_a_step": on_host.window_bytes,
    },
  )


class Run:
  """A training run that times some steps at once."""

  def __init__(self, data: click_log.Dataset, tier: str, turns: int):
    values = {"sparse_optimizer.tier": tier, "train.batch_size": BATCH}
    config = variants.config_of(variants.Variant("baseline", values), 0)
    self.x = experiment.build(config, data=data)
    self._training = training.of(self.x)
    self._state = self.x.state
    self._batches = self._training.batches(0, TURN * turns)
    self.rows = self.window_bytes = self.index_bytes = 0

  def seconds(self, turn: int) -> float:
    """Runs the next steps; returns their time, that of batches left out."""
    del turn
    batches = list(itertools.islice(self._batches, TURN))
    jax.block_until_ready(batches)
    state, before = self._state, np.float32(0)
    start = time.perf_counter()
    for batch in batches:
      state, loss = self._training.step(state, batch)
      float(before)  # As the loop does.
      before = loss
    jax.block_until_ready(state)
    self._training.at_rest(state)
    seconds = time.perf_counter() - start
    self._state = state
    if self.x.layout.ids_windowed:
      self._measure(batches[0][0].id_window, state)
    return seconds

  def _measure(self, window: np.ndarray, state: state_lib.State) -> None:
    """Sizes of what goes to the device and back."""
    self.rows = int(np.sum(window >= 0))
    self.window_bytes = sum(a.nbytes for a in state_lib.rows_of(state))
    self.index_bytes = 4 * state.ids.shape[0] * state.ids.shape[1]


@functools.cache
def clicks(rows: int) -> click_log.Dataset:
  """Random clicks on random ids, low ones often."""
  rng = np.random.default_rng(0)
  each, n = rows // FIELDS, GROUPS * SAMPLES
  users = click_log.Jagged(1 + np.arange(GROUPS), np.arange(GROUPS + 1))
  no_images = click_log.Jagged(np.zeros(0, int), np.zeros(GROUPS + 1, int))
  ids = {
    f"ad_{i}": (each * rng.random(n) ** 3).astype(np.int64)
    for i in range(FIELDS - 1)
  }
  log = click_log.ClickLog(
    user_ids={"user_id": users},
    ad_ids=ids,
    behaviour_images=no_images,
    ad_image=np.zeros(n, int),
    label=(rng.random(n) < 0.3).astype(np.float32),
    group=np.repeat(np.arange(GROUPS), SAMPLES),
    user=np.arange(GROUPS),
  )
  sides = {"user_id": "user"} | dict.fromkeys(ids, "ad")
  return click_log.Dataset(
    features=tuple(
      click_log.Feature(name=name, side=side, rows=each)
      for name, side in sides.items()
    ),
    train=log,
    test=log,
    image_names=(),
    image_bytes=(),
  )


if __name__ == "__main__":
  command.define_devices()
  flags.DEFINE_integer("rows", 8_000_000, "Rows of the ID table.")
  flags.DEFINE_integer("rounds", 8, "Turns of each run, after a first one.")
  app.run(main, flags_parser=command.parse_flags)
