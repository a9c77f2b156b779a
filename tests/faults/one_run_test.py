"""While a run is at work in its folder others may read it, none may write."""

import json
import pathlib

import jax
import numpy as np
import pytest

from dicm_jax import config, experiment, restore
from tests import processes

EVERY = 2


def train(folder: pathlib.Path, steps: int) -> list[str]:
  return processes.train(
    folder,
    1,
    train__steps=steps,
    train__batch_size=256,
    train__log_every_steps=1,
    checkpoint__every_steps=EVERY,
  )


def start(folder, steps: int, cache):
  """A run, once it has a checkpoint."""
  run = processes.start(train(folder, steps), cache)
  processes.wait_for([run], lambda: processes.checkpoints(folder) != [])
  return run


@pytest.mark.slow
def test_second_run_is_refused_and_the_first_goes_on(tmp_path):
  run, steps = tmp_path / "run", 400
  first = start(run, steps, tmp_path)
  others = [
    processes.start(train(run, steps), tmp_path),
    *processes.start_two(train(run, steps), tmp_path),
  ]
  for code, _, log in processes.ends(others):
    assert code == 2
    message = log.splitlines()[-1]
    assert message.startswith(
      f"dicm_jax: --workdir: {run} is in use by process"
    )
    assert f" {first.pid} on " in message
  assert first.poll() is None
  processes.finish([first])
  assert len(processes.losses(run)) == steps
  figures = json.loads((run / "eval.json").read_text())
  assert figures["step"] == steps


@pytest.mark.slow
def test_readers_of_a_run_at_work_see_whole_checkpoints(tmp_path):
  run, steps = tmp_path / "run", 600
  training = start(run, steps, tmp_path)
  written = json.loads((run / "config.json").read_text())
  settings = config.from_dict(written)
  x = experiment.build(settings, devices=jax.devices()[:1])
  seen = []
  while training.poll() is None and len(seen) < 100:
    state = restore.newest(run, settings, x.state, x.inputs)
    seen.append(int(state.step))
  args = ["dicm_jax.evaluate", f"--workdir={run}", "--cpu_devices=1"]
  (stdout,) = processes.finish([processes.start(args, tmp_path)])
  processes.kill([training])
  assert len(set(seen)) > 10  # Most were deleted soon after.
  assert seen == sorted(seen)
  assert {step % EVERY for step in seen} == {0}
  figures = json.loads(stdout)
  assert figures["step"] >= seen[-1]

  last = seen[-1]
  processes.finish([processes.start(train(tmp_path / "alone", last), tmp_path)])
  alone = restore.newest(tmp_path / "alone", settings, x.state, x.inputs)
  for found, expected in zip(
    *map(jax.tree.leaves, (state, alone)), strict=True
  ):
    np.testing.assert_array_equal(found, expected)
