"""Disks that are full, read-only or gone: nothing is lost, and it is said."""

import contextlib
import errno
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from dicm_jax import checkpoint, errors, loop, workdir
from dicm_jax.saved import Saved
from tests import toy
from tests.checkpoint_test import files_of

ROOT = pathlib.Path(__file__).parents[2]
STEPS, EVERY, TIMEOUT_S = 12, 4, 300
RNG = np.random.default_rng(0)
STATE = {"rows": RNG.standard_normal((256, 40), np.float32)}


@contextlib.contextmanager
def largest_file(size: int):
  """As if a disk were full: no file may grow beyond so many bytes."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def save(folder, *steps):
  with checkpoint.manager(folder, keep=1) as opened:
    for step in steps:
      checkpoint.save(opened, step, STATE, {})


def test_checkpoint_that_fails_loses_none_before_it(tmp_path):
  save(tmp_path, 2)
  before = files_of(tmp_path)
  with (
    largest_file(1000),
    pytest.raises(errors.WriteError, match=r"checkpoints/4 cannot be writt"),
  ):
    save(tmp_path, 4)
  assert checkpoint.steps(tmp_path) == [2]
  sound = {k: v for k, v in files_of(tmp_path).items() if k in before}
  assert sound == before
  assert checkpoint.come_to(tmp_path).startswith("The newest checkpoint in ")
  save(tmp_path, 4)
  assert [p.name for p in (tmp_path / checkpoint.FOLDER).iterdir()] == ["4"]
  found, _ = checkpoint.restore(tmp_path, STATE, {})
  np.testing.assert_array_equal(found["rows"], STATE["rows"])


@pytest.mark.parametrize("notice", ["look", "save"])
def test_failure_is_told_before_the_end(tmp_path, notice):
  save(tmp_path, 2)
  told = pytest.raises(errors.WriteError, match=r"checkpoints/4 cannot be ")
  with checkpoint.manager(tmp_path, keep=1) as opened:
    with largest_file(1000):
      checkpoint.save(opened, 4, STATE, {})
      checkpoint.check(opened)  # It does not wait, so it may not know yet.
      while opened.is_saving_in_progress():
        time.sleep(0.001)
    with told:
      if notice == "look":
        checkpoint.check(opened)
      else:
        checkpoint.save(opened, 6, STATE, {})
  assert checkpoint.steps(tmp_path) == [2]


def test_folder_that_is_gone_is_not_made_anew(tmp_path):
  folder = tmp_path / "run"
  told = pytest.raises(errors.WriteError, match=r"No such file or directory$")
  with checkpoint.manager(folder) as opened:
    shutil.rmtree(folder)
    with told:
      checkpoint.save(opened, 4, STATE, {})
    with told:
      workdir.append_metrics(folder, {"step": 4})
  assert not folder.exists()
  assert checkpoint.come_to(folder) == f"There is no checkpoint in {folder}"


def test_metrics_that_are_cut_are_dropped_by_the_restart(tmp_path):
  workdir.append_metrics(tmp_path, {"step": 10})
  with (
    largest_file(20),
    pytest.raises(errors.WriteError, match=r"metrics\.jsonl .*File too large"),
  ):
    workdir.append_metrics(tmp_path, {"step": 20})
  workdir.keep_metrics_until(tmp_path, 20)
  assert (tmp_path / workdir.METRICS).read_text() == '{"step": 10}\n'


def test_full_disk_at_the_start_is_told_and_changes_nothing(tmp_path):
  workdir.claim(tmp_path, toy.values())
  before = files_of(tmp_path)
  with (
    largest_file(20),
    pytest.raises(errors.InputError, match=r"config\.json .*File too large"),
  ):
    workdir.claim(tmp_path, toy.values(train__steps=99))
  assert files_of(tmp_path).items() >= before.items()


@pytest.mark.slow
def test_run_on_a_disk_that_becomes_read_only(tmp_path, monkeypatch):
  toy.small_runs(monkeypatch)
  config = toy.values(
    train__steps=4,
    train__batch_size=512,
    train__log_every_steps=1,
    checkpoint__every_steps=2,
  )
  opened = pathlib.Path.open

  def read_only(path, mode="r", *rest, **options):
    if mode == "a" and path.exists() and path.read_text().count("\n") == 2:
      raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    return opened(path, mode, *rest, **options)

  with monkeypatch.context() as patch:
    patch.setattr(pathlib.Path, "open", read_only)
    with pytest.raises(errors.WriteError) as caught:
      loop.train_and_evaluate(config, tmp_path)
  file = tmp_path / workdir.METRICS
  assert str(caught.value) == f"{file} cannot be written: Read-only file system"
  loop.train_and_evaluate(config, tmp_path)
  assert checkpoint.steps(tmp_path) == [2, 4]


def start(folder, cache, *, steps=STEPS, largest=None):
  """A run of its own, on one device."""
  command = [
    sys.executable,
    "-m",
    "dicm_jax.main",
    f"--config={ROOT / 'configs/quickstart.py'}",
    f"--workdir={folder}",
    "--cpu_devices=1",
    f"--config.train.steps={steps}",
    "--config.train.batch_size=1024",
    "--config.train.log_every_steps=1",
    f"--config.checkpoint.every_steps={EVERY}",
    "--config.checkpoint.keep=1",
  ]
  if largest:
    command = ["prlimit", f"--fsize={largest}", *command]
  return subprocess.Popen(
    command,
    cwd=ROOT,
    env=os.environ | {"XDG_CACHE_HOME": str(cache)},
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  )


def finish(process, code=0) -> str:
  """What it says on its error stream, once it has ended with that code."""
  _, said = process.communicate(timeout=TIMEOUT_S)
  assert process.returncode == code, said
  assert "Traceback" not in said, said
  return said


def until_step(process, folder, step):
  """Waits until a step is logged and a checkpoint is there."""
  end = time.monotonic() + TIMEOUT_S
  file = folder / workdir.METRICS
  while not (
    checkpoint.steps(folder) and len(file.read_text().splitlines()) >= step
  ):
    assert process.poll() is None, process.stderr.read()
    assert time.monotonic() < end, "no progress"
    time.sleep(0.01)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
  """A run that nothing happens to, and the cache that it has filled."""
  folder = tmp_path_factory.mktemp("alone")
  finish(start(folder / "run", folder))
  return folder


def assert_same_run(folder, alone):
  def figures(run):
    return json.loads((run / workdir.EVAL).read_text())

  def noted(run):
    return Saved(run, STEPS).position().fingerprints

  assert figures(folder) == figures(alone / "run")
  assert noted(folder) == noted(alone / "run")
  assert checkpoint.steps(folder) == [STEPS]


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("prlimit"), reason="needs util-linux")
def test_full_disk_ends_a_run_which_then_goes_on(tmp_path, alone):
  folder = tmp_path / "run"
  finish(start(folder, alone, steps=EVERY))
  said = finish(start(folder, alone, largest=200_000), code=1)
  assert f"checkpoints/{2 * EVERY} cannot be written: " in said
  assert said.splitlines()[-1].startswith(
    f"The newest checkpoint in {folder} is of step {EVERY}; the same command"
  )
  finish(start(folder, alone))
  assert_same_run(folder, alone)


@pytest.fixture
def small_disk(tmp_path):
  """A file system of its own."""
  folder = tmp_path / "disk"
  folder.mkdir()
  command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
  try:
    subprocess.run(command, check=True, capture_output=True)
  except (OSError, subprocess.CalledProcessError) as e:
    pytest.skip(f"no file system can be mounted: {e}")
  yield folder
  subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
def test_small_disk_is_read_only_and_then_full(small_disk, alone):
  folder = small_disk / "run"

  def remount(how):
    command = ["mount", "-o", f"remount,{how}", str(small_disk)]
    return subprocess.run(command, capture_output=True).returncode == 0

  finish(start(folder, alone, steps=EVERY))
  assert remount("ro")  # Refused while a run holds its lock.
  assert "Read-only file system" in finish(start(folder, alone), code=2)
  remount("rw")
  before = checkpoint.steps(folder)

  stuffing = small_disk / "stuffing"
  with contextlib.suppress(OSError), stuffing.open("wb", buffering=0) as file:
    while file.write(bytes(1 << 12)):
      pass
  with stuffing.open("r+b") as file:
    file.truncate(stuffing.stat().st_size - 100_000)  # Not for a checkpoint.
  said = finish(start(folder, alone), code=1)
  assert "No space left on device" in said
  assert checkpoint.steps(folder) == before
  stuffing.unlink()
  finish(start(folder, alone))
  assert_same_run(folder, alone)


@pytest.mark.slow
def test_removed_folder_ends_the_run_and_is_not_made_anew(tmp_path, alone):
  folder = tmp_path / "run"
  process = start(folder, alone, steps=1000)
  until_step(process, folder, EVERY)
  process.send_signal(signal.SIGSTOP)  # Nothing is written meanwhile.
  shutil.rmtree(folder)
  process.send_signal(signal.SIGCONT)
  said = finish(process, code=1)
  assert "No such file or directory" in said
  assert f"There is no checkpoint in {folder}" in said
  assert not (folder / workdir.CONFIG).exists()
