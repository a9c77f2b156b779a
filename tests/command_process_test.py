"""The real command on wrong input: one message, exit code 2, no file."""

import os
import pathlib
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest

from dicm_jax import workdir
from tests import toy

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "dicm_jax"
QUICK = f"--config={ROOT / 'configs' / 'quickstart.py'}"


def run_process(*args, cwd=ROOT, **environment):
  return subprocess.run(
    [sys.executable, "-m", "dicm_jax.main", *args],
    capture_output=True,
    text=True,
    check=False,
    cwd=cwd,
    env=os.environ | environment,
    timeout=300,
  )


def refused(tmp_path, *args, **options):
  """The message of a command that must fail before it writes anything."""
  folder = tmp_path / "run"
  done = run_process(QUICK, f"--workdir={folder}", *args, **options)
  assert done.returncode == 2, done.stderr
  assert done.stdout == ""
  assert not folder.exists()
  # Logs may come before; the message is the last line.
  *logs, message = done.stderr.splitlines()
  assert not any("Traceback" in line for line in logs)
  assert message.startswith("dicm_jax: ")
  return message.removeprefix("dicm_jax: ")


def test_mesh_that_does_not_fit_the_devices(tmp_path):
  message = refused(tmp_path, "--cpu_devices=8", "--config.mesh.worker=3")
  assert "mesh.worker=3" in message
  assert "8 device" in message


@pytest.mark.slow
def test_workdir_of_another_config_is_left_alone(tmp_path):
  workdir.claim(tmp_path, toy.values(seed=3))
  before = (tmp_path / workdir.CONFIG).read_bytes()
  done = run_process(QUICK, f"--workdir={tmp_path}", "--config.seed=4")
  assert done.returncode == 2
  assert done.stdout == ""
  assert done.stderr.startswith(f"dicm_jax: --workdir: {tmp_path} belongs to")
  assert "\n  seed: 3 -> 4\n" in done.stderr
  assert [file.name for file in tmp_path.iterdir()] == [workdir.CONFIG]
  assert (tmp_path / workdir.CONFIG).read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize(
  "override, expected",
  [
    (
      "train.stpes=3",
      "unknown config key 'train.stpes'; did you mean 'train.s",
    ),
    ("image.backbone=vgg61", "unknown backbone 'vgg61'; did you mean 'vgg16'?"),
    (
      "dense_optimizer.name=rsmprop",
      "unknown dense_optimizer.name 'rsmprop'; ",
    ),
    ("image.weights=/nope.h5", "/nope.h5: "),
  ],
)
def test_wrong_value(tmp_path, override, expected):
  assert refused(tmp_path, f"--config.{override}").startswith(expected)


@pytest.mark.slow
def test_weights_of_another_shape(tmp_path):
  file = tmp_path / "w.h5"
  shutil.copy(PACKAGE / "model/pretrained/squeezenet1_1_notop.h5", file)
  with h5py.File(file, "a") as tensors:
    del tensors["conv1/uniform1"]
    tensors["conv1/uniform1"] = np.zeros((3, 3, 3, 8), np.float32)
  message = refused(tmp_path, f"--config.image.weights={file}")
  assert message.startswith(f"{file}: ")
  assert "conv1/uniform1" in message
  assert "[3, 3, 3, 64]" in message


@pytest.mark.slow
def test_photograph_cut_short(tmp_path):
  """In a copy of the package: `python -m` looks in its own folder first."""
  leave_out = shutil.ignore_patterns("__pycache__")
  package = shutil.copytree(PACKAGE, tmp_path / "dicm_jax", ignore=leave_out)
  file = package / "data/clothing/0003.jpg"
  file.write_bytes(file.read_bytes()[:2500])
  message = refused(tmp_path, cwd=tmp_path)
  assert message.startswith(f"{file}: damaged or cut short picture")


@pytest.mark.slow
def test_cache_folder_that_cannot_be_made(tmp_path):
  (tmp_path / "file").write_text("precious")
  cache = tmp_path / "file" / "cache"
  message = refused(tmp_path, XDG_CACHE_HOME=str(cache))
  assert message.startswith(f"{cache}/dicm_jax/squeezenet-")
  assert "cannot be written: Not a directory; set XDG_CACHE_HOME" in message
