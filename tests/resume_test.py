"""A run killed in mid-epoch and restarted ends with the same bits."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import orbax.checkpoint as ocp
import pytest

ROOT = pathlib.Path(__file__).parents[1]
STEPS = 24
TIMEOUT_S = 300


def _start(workdir: pathlib.Path, cache: pathlib.Path) -> subprocess.Popen:
  command = [
    sys.executable,
    "-m",
    "dicm_jax.main",
    f"--config={ROOT / 'configs/quickstart.py'}",
    f"--workdir={workdir}",
    "--cpu_devices=2",
    f"--config.train.steps={STEPS}",
    "--config.train.batch_size=1024",
    "--config.train.log_every_steps=1",
    "--config.checkpoint.every_steps=5",
  ]
  return subprocess.Popen(
    command,
    cwd=ROOT,
    env=os.environ | {"XDG_CACHE_HOME": str(cache)},
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  )


def _last_logged(workdir: pathlib.Path) -> int:
  file = workdir / "metrics.jsonl"
  lines = file.read_text().splitlines() if file.exists() else []
  return len(lines)


def _kill_after(process, workdir: pathlib.Path, step: int) -> None:
  """SIGKILL as soon as the step is logged and a checkpoint is there."""
  deadline = time.monotonic() + TIMEOUT_S
  while _last_logged(workdir) < step or not _checkpoints(workdir):
    assert process.poll() is None, process.stderr.read()
    assert time.monotonic() < deadline, "no progress"
    time.sleep(0.02)
  process.send_signal(signal.SIGKILL)
  process.communicate()


def _checkpoints(workdir: pathlib.Path) -> list[int]:
  folder = workdir / "checkpoints"
  names = [p.name for p in folder.iterdir()] if folder.exists() else []
  return sorted(int(name) for name in names if name.isdigit())


def _finish(process) -> str:
  _, stderr = process.communicate(timeout=TIMEOUT_S)
  assert process.returncode == 0, stderr
  return stderr


def _parameters(workdir: pathlib.Path):
  with ocp.StandardCheckpointer() as reader:
    return reader.restore((workdir / f"checkpoints/{STEPS}/state").absolute())


def _flat(tree, path=""):
  if isinstance(tree, dict):
    return {
      k: v
      for name in tree
      for k, v in _flat(tree[name], f"{path}/{name}").items()
    }
  if isinstance(tree, (list, tuple)):
    return _flat(dict(enumerate(tree)), path)
  return {path: np.asarray(tree)} if tree is not None else {}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Sharding info not provided")
def test_killed_run_ends_with_the_bits_of_one_left_alone(tmp_path):
  alone, killed = tmp_path / "alone", tmp_path / "killed"
  _finish(_start(alone, tmp_path))
  for step in (7, 16):
    _kill_after(_start(killed, tmp_path), killed, step)
    assert not (killed / "eval.json").exists()
  log = _finish(_start(killed, tmp_path))
  assert "restored step" in log

  for name in ("eval.json", "config.json"):
    assert (killed / name).read_bytes() == (alone / name).read_bytes()
  losses = [
    [
      (r["step"], r["loss"])
      for r in map(json.loads, file.read_text().splitlines())
    ]
    for file in (alone / "metrics.jsonl", killed / "metrics.jsonl")
  ]
  assert losses[0] == losses[1]
  assert [step for step, _ in losses[0]] == list(range(1, STEPS + 1))
  found, expected = _flat(_parameters(killed)), _flat(_parameters(alone))
  assert len(expected) > 30 and found.keys() == expected.keys()
  for path, array in expected.items():
    np.testing.assert_array_equal(found[path], array, path)
