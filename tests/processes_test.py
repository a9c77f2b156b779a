"""Two processes that talk over gloo train as one process does."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[1]
STEPS = 12
TIMEOUT_S = 300


def _start(workdir, cache, *, devices: int, me: int = 0, port: int = 0):
  command = [
    sys.executable,
    "-m",
    "dicm_jax.main",
    f"--config={ROOT / 'configs/quickstart.py'}",
    f"--workdir={workdir}",
    f"--cpu_devices={devices}",
    f"--config.train.steps={STEPS}",
    "--config.train.batch_size=1024",
    "--config.train.log_every_steps=1",
    "--config.checkpoint.every_steps=4",
  ]
  if port:
    command += [
      f"--coordinator=localhost:{port}",
      "--num_processes=2",
      f"--process_id={me}",
    ]
  return subprocess.Popen(
    command,
    cwd=ROOT,
    env=os.environ | {"XDG_CACHE_HOME": str(cache)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def _start_two(workdir, cache):
  with socket.socket() as free:
    free.bind(("localhost", 0))
    port = free.getsockname()[1]
  return [
    _start(workdir, cache, devices=2, me=me, port=port) for me in range(2)
  ]


def _finish(processes) -> list[str]:
  ends = [p.communicate(timeout=TIMEOUT_S) for p in processes]
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
  assert [r["step"] for r in records] == list(range(1, STEPS + 1))
  return [r["loss"] for r in records]


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path):
  one, two, killed = (tmp_path / name for name in ("one", "two", "killed"))
  _finish([_start(one, tmp_path, devices=4)])
  first, second = _finish(_start_two(two, tmp_path))
  # One process speaks for both; gloo writes of its connections before.
  assert json.loads(first[first.index("{") :])["step"] == STEPS
  assert "{" not in second

  pair = _start_two(killed, tmp_path)
  _kill_after(pair, killed, 4)
  _finish([_start(killed, tmp_path, devices=2)])

  expected = json.loads((one / "eval.json").read_text())
  for run in (two, killed):
    np.testing.assert_allclose(_losses(run), _losses(one), rtol=1e-4)
    found = json.loads((run / "eval.json").read_text())
    for name in ("auc", "gauc", "logloss"):
      assert found[name] == pytest.approx(expected[name], abs=1e-3), name
