"""Same config, data and mesh: same bits, in whatever process."""

import json
import os
import pathlib
import subprocess
import sys

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from dicm_jax.data import pipeline
from tests import toy

ROOT = pathlib.Path(__file__).parents[2]
STEPS = 8


def trained(workdir: pathlib.Path, cache, mesh: tuple[int, int], **environment):
  """Runs the command of the quickstart to its end."""
  worker, server = mesh
  command = [
    sys.executable,
    "-m",
    "dicm_jax.main",
    f"--config={ROOT / 'configs/quickstart.py'}",
    f"--workdir={workdir}",
    f"--cpu_devices={worker * server}",
    f"--config.mesh.worker={worker}",
    f"--config.mesh.server={server}",
    f"--config.train.steps={STEPS}",
    "--config.train.batch_size=1024",
    "--config.train.log_every_steps=1",
  ]
  done = subprocess.run(
    command,
    cwd=ROOT,
    env=os.environ | {"XDG_CACHE_HOME": str(cache)} | environment,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  return workdir


def losses(workdir: pathlib.Path) -> list[float]:
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  return [json.loads(line)["loss"] for line in lines]


def arrays(workdir: pathlib.Path) -> list[np.ndarray]:
  """All that the last checkpoint holds."""
  with ocp.StandardCheckpointer() as reader:
    folder = workdir / f"checkpoints/{STEPS}/state"
    found = reader.restore(folder.absolute())
  return [np.asarray(leaf) for leaf in jax.tree.leaves(found)]


@pytest.mark.slow
@pytest.mark.parametrize("mesh", [(1, 1), (2, 2)], ids=str)
def test_two_processes_make_the_same_bits(mesh, tmp_path):
  one, other = (
    trained(tmp_path / seed, tmp_path / "cache", mesh, PYTHONHASHSEED=seed)
    for seed in ("1", "2")
  )
  assert len(losses(one)) == STEPS
  assert losses(one) == losses(other)
  assert (one / "eval.json").read_bytes() == (other / "eval.json").read_bytes()
  pairs = list(zip(arrays(one), arrays(other), strict=True))
  assert len(pairs) > 10
  assert all(a.tobytes() == b.tobytes() for a, b in pairs)


def batches(monkeypatch, threads: int):
  made = grain.ReadOptions
  monkeypatch.setattr(
    pipeline.grain,
    "ReadOptions",
    lambda num_threads, **more: made(num_threads=threads, **more),
  )
  x = toy.build(train__id_dropout=0.2, train__id_dropout_fields=("ad_id",))
  found = [jax.tree.map(np.asarray, batch) for batch in x.batches(0, 12)]
  monkeypatch.undo()
  return jax.tree.leaves(found)


def test_threads_that_make_batches_do_not_change_them(monkeypatch):
  one, eight = (batches(monkeypatch, threads) for threads in (1, 8))
  assert all(map(np.array_equal, one, eight))
