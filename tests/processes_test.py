"""Processes that talk over gloo train as one process does."""

from collections.abc import Sequence
import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from typing import NamedTuple

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]
STEPS = 12
DEVICES = 4
"""Of all processes together."""
TIMEOUT_S = 300


class Alone(NamedTuple):
  """A run of one process."""

  workdir: pathlib.Path
  cache: pathlib.Path
  """Where the features lie by now."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Alone:
  run = Alone(*(tmp_path_factory.mktemp(name) for name in ("one", "cache")))
  _finish([_start(_train(run.workdir, DEVICES), run.cache)])
  return run


def _train(workdir: pathlib.Path, devices: int) -> list[str]:
  return [
    "dicm_jax.main",
    f"--config={ROOT / 'configs/quickstart.py'}",
    f"--workdir={workdir}",
    f"--cpu_devices={devices}",
    f"--config.train.steps={STEPS}",
    "--config.train.batch_size=1024",
    "--config.train.log_every_steps=1",
    "--config.checkpoint.every_steps=4",
  ]


def _start(args: Sequence[str], cache, **environment) -> subprocess.Popen:
  """Starts a module with its arguments."""
  return subprocess.Popen(
    [sys.executable, "-m", *args],
    cwd=ROOT,
    env=os.environ | {"XDG_CACHE_HOME": str(cache)} | environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def _together(count: int) -> list[list[str]]:
  """Flags by which so many processes of this machine meet."""
  address = f"--coordinator=localhost:{_free_port()}"
  return [
    [address, f"--num_processes={count}", f"--process_id={me}"]
    for me in range(count)
  ]


def _free_port() -> int:
  with socket.socket() as free:
    free.bind(("localhost", 0))
    return free.getsockname()[1]


def _start_two(workdir, cache) -> list[subprocess.Popen]:
  args = _train(workdir, DEVICES // 2)
  return [_start([*args, *flags], cache) for flags in _together(2)]


def _finish(processes) -> list[str]:
  try:
    ends = [p.communicate(timeout=TIMEOUT_S) for p in processes]
  finally:  # They wait for one another.
    for process in processes:
      process.kill()
  assert [p.returncode for p in processes] == [0] * len(processes), ends
  return [stdout for stdout, _ in ends]


def _kill_after(processes, workdir: pathlib.Path, checkpoint: int) -> None:
  deadline = time.monotonic() + TIMEOUT_S
  while not (workdir / "checkpoints" / str(checkpoint)).exists():
    assert all(p.poll() is None for p in processes)
    assert time.monotonic() < deadline, "no progress"
    time.sleep(0.02)
  for process in processes:
    process.send_signal(signal.SIGKILL)
  for process in processes:
    process.communicate()


def _losses(workdir: pathlib.Path) -> list[float]:
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  records = [json.loads(line) for line in lines]
  assert [r["step"] for r in records] == list(range(1, len(records) + 1))
  return [r["loss"] for r in records]


def _assert_trained_as(alone: Alone, workdir: pathlib.Path) -> None:
  np.testing.assert_allclose(
    _losses(workdir), _losses(alone.workdir), rtol=1e-4
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
  first, second = _finish(_start_two(two, alone.cache))
  assert _result(first)["step"] == STEPS  # One process speaks for both.
  assert "{" not in second

  pair = _start_two(killed, alone.cache)
  _kill_after(pair, killed, 4)
  _finish([_start(_train(killed, 2), alone.cache)])
  for run in (two, killed):
    _assert_trained_as(alone, run)


@pytest.mark.slow
def test_four_processes_share_the_work_of_one(alone, tmp_path):
  run, notes = tmp_path / "four", [tmp_path / f"{me}.json" for me in range(4)]
  args = _train(run, 1)
  first, *others = _finish(
    [
      _start(["tests.slices_made", str(note), *args[1:], *flags], alone.cache)
      for note, flags in zip(notes, _together(4), strict=True)
    ]
  )
  _assert_trained_as(alone, run)
  assert _result(first)["step"] == STEPS
  assert not any("{" in stdout for stdout in others)
  for note in notes:
    shares = json.loads(note.read_text())
    assert len(shares) >= STEPS
    assert set(shares) == {1 / 4}

  state = run / "checkpoints" / str(STEPS) / "state"
  for me in range(4):  # Each host writes what lies on it.
    assert any((state / f"ocdbt.process_{me}" / "d").iterdir())
  restored = ["dicm_jax.evaluate", f"--workdir={run}", "--cpu_devices=1"]
  (one,) = _finish([_start(restored, alone.cache)])
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
  _finish(
    [
      _start(
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
  found, expected = _losses(tmp_path / "run"), _losses(alone.workdir)
  np.testing.assert_allclose(found, expected[:steps], rtol=1e-4)
