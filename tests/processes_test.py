"""Processes that talk over gloo train as one process does."""

import contextlib
import json
import os
import pathlib
import socket
from typing import NamedTuple

import numpy as np
import pytest

from tests import processes

STEPS = 12
DEVICES = 4
"""Of all processes together."""


class Alone(NamedTuple):
  """A run of one process."""

  workdir: pathlib.Path
  cache: pathlib.Path
  """Where the features lie by now."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Alone:
  run = Alone(*(tmp_path_factory.mktemp(name) for name in ("one", "cache")))
  processes.finish([processes.start(_train(run.workdir, DEVICES), run.cache)])
  return run


def _train(workdir: pathlib.Path, devices: int) -> list[str]:
  return processes.train(
    workdir,
    devices,
    train__steps=STEPS,
    train__batch_size=1024,
    train__log_every_steps=1,
    checkpoint__every_steps=4,
  )


def _start_two(workdir, cache):
  return processes.start_two(_train(workdir, DEVICES // 2), cache)


def _assert_trained_as(alone: Alone, workdir: pathlib.Path) -> None:
  np.testing.assert_allclose(
    processes.losses(workdir), processes.losses(alone.workdir), rtol=1e-4
  )
  expected = json.loads((alone.workdir / "eval.json").read_text())
  _assert_figures(json.loads((workdir / "eval.json").read_text()), expected)


def _assert_figures(found, expected) -> None:
  for name in ("auc", "gauc", "logloss"):
    assert found[name] == pytest.approx(expected[name], abs=1e-3), name


def _result(stdout: str):
  """The figures printed; gloo writes of its connections before."""
  return json.loads(stdout[stdout.index("{") :])


@pytest.mark.slow
def test_two_processes_train_as_one_does(alone, tmp_path):
  two, killed = tmp_path / "two", tmp_path / "killed"
  first, second = processes.finish(_start_two(two, alone.cache))
  assert _result(first)["step"] == STEPS  # One process speaks for both.
  assert "{" not in second

  pair = _start_two(killed, alone.cache)
  processes.wait_for(pair, lambda: 4 in processes.checkpoints(killed))
  processes.kill(pair)
  processes.finish([processes.start(_train(killed, 2), alone.cache)])
  for run in (two, killed):
    _assert_trained_as(alone, run)


@pytest.mark.slow
def test_four_processes_share_the_work_of_one(alone, tmp_path):
  run, notes = tmp_path / "four", [tmp_path / f"{me}.json" for me in range(4)]
  args = _train(run, 1)
  first, *others = processes.finish(
    [
      processes.start(
        ["tests.slices_made", str(note), *args[1:], *flags], alone.cache
      )
      for note, flags in zip(notes, processes.together(4), strict=True)
    ]
  )
  _assert_trained_as(alone, run)
  assert _result(first)["step"] == STEPS
  assert not any("{" in stdout for stdout in others)
  for note in notes:
    shares = [share for _, share in json.loads(note.read_text())]
    assert len(shares) >= STEPS
    assert set(shares) == {1 / 4}

  state = run / "checkpoints" / str(STEPS) / "state"
  for me in range(4):  # Each host writes what lies on it.
    assert any((state / f"ocdbt.process_{me}" / "d").iterdir())
  restored = ["dicm_jax.evaluate", f"--workdir={run}", "--cpu_devices=1"]
  (one,) = processes.finish([processes.start(restored, alone.cache)])
  _assert_figures(_result(one), _result(first))


def _free_job() -> int:
  """Number of a Slurm job whose port, as JAX chooses it, is free."""
  for job in range(os.getpid(), os.getpid() + 4096):
    with socket.socket() as port, contextlib.suppress(OSError):
      port.bind(("", 61440 + job % 4096))
      return job
  raise AssertionError("no free port")


@pytest.mark.slow
def test_processes_of_a_slurm_job_find_each_other(alone, tmp_path):
  steps, job = 3, _free_job()
  args = [*_train(tmp_path / "run", 2), f"--config.train.steps={steps}"]
  processes.finish(
    [
      processes.start(
        [*args, "--coordinator=auto"],
        alone.cache,
        SLURM_JOB_ID=str(job),
        SLURM_STEP_NODELIST="localhost",
        SLURM_NTASKS="2",
        SLURM_PROCID=str(me),
        SLURM_LOCALID=str(me),
      )
      for me in range(2)
    ]
  )
  found, expected = (
    processes.losses(tmp_path / "run"),
    processes.losses(alone.workdir),
  )
  np.testing.assert_allclose(found, expected[:steps], rtol=1e-4)
