"""One run a folder: the second is told who was first, and changes nothing."""

import errno
import fcntl
import json
import os
import pathlib
import re
import socket
import subprocess
import sys

import pytest

from dicm_jax import errors, loop, run_lock, workdir
from tests import toy
from tests.workdir_test import contents

HOLD = """
import pathlib, sys, time
from dicm_jax import run_lock
run_lock.RunLock(pathlib.Path(sys.argv[1])).take()
print("held", flush=True)
time.sleep(60)
"""


def refused(path: pathlib.Path) -> str:
  with (
    run_lock.RunLock(path) as second,
    pytest.raises(errors.InputError) as caught,
  ):
    second.take()
  return str(caught.value)


def test_second_run_is_told_of_the_first(tmp_path):
  with run_lock.RunLock(tmp_path) as first:
    first.take()
    before = contents(tmp_path)
    message = refused(tmp_path)
    assert contents(tmp_path) == before
  assert re.fullmatch(
    rf"--workdir: {tmp_path} is in use by process {os.getpid()} on "
    rf"{re.escape(socket.gethostname())} since 20[-0-9T:+]+; stop that run "
    "first, or name another folder",
    message,
  )


def test_lock_that_is_given_back_is_free_and_says_nothing(tmp_path):
  with run_lock.RunLock(tmp_path) as first:
    first.take()
    first.take()
  assert contents(tmp_path) == {workdir.LOCK: b""}
  with run_lock.RunLock(tmp_path) as second:
    second.take()
    assert json.loads(contents(tmp_path)[workdir.LOCK])["pid"] == os.getpid()


def test_refused_one_does_not_free_the_lock(tmp_path):
  with run_lock.RunLock(tmp_path) as first:
    first.take()
    refused(tmp_path)
    assert "is in use" in refused(tmp_path)


def test_holder_that_has_not_yet_said_who_it_is(tmp_path):
  with run_lock.RunLock(tmp_path) as first:
    first.take()
    (tmp_path / workdir.LOCK).write_text("")
    assert "is in use by another process;" in refused(tmp_path)


def test_killed_process_holds_nothing(tmp_path):
  holder = subprocess.Popen(
    [sys.executable, "-c", HOLD, str(tmp_path)],
    stdout=subprocess.PIPE,
    text=True,
  )
  with holder:
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert f"by process {holder.pid} on" in refused(tmp_path)
    holder.kill()
  with run_lock.RunLock(tmp_path) as second:
    second.take()


def test_file_system_without_locks_is_warned_of(tmp_path, monkeypatch, caplog):
  def no_locks(*_):
    raise OSError(errno.ENOLCK, "No locks available")

  monkeypatch.setattr(fcntl, "flock", no_locks)
  with run_lock.RunLock(tmp_path) as lock:
    lock.take()
  assert "run.lock cannot be locked (No locks available): keep" in caplog.text


def test_folder_of_no_run_is_not_touched_early(tmp_path):
  for path in (tmp_path, tmp_path / "new"):
    with run_lock.RunLock(path) as lock:
      lock.take_if_run()
  assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_made(tmp_path):
  file = tmp_path / "file"
  file.write_text("precious")
  assert refused(file / "run") == f"--workdir: {file / 'run'}: Not a directory"


@pytest.mark.parametrize("known", [False, True])
def test_second_training_run_changes_nothing(tmp_path, monkeypatch, known):
  toy.small_runs(monkeypatch)
  config = toy.values(train__steps=1, train__batch_size=512)
  if known:
    workdir.claim(tmp_path, config)
  with run_lock.RunLock(tmp_path) as first:
    first.take()
    before = contents(tmp_path)
    with pytest.raises(errors.InputError, match="is in use by process"):
      loop.train_and_evaluate(config, tmp_path)
    assert contents(tmp_path) == before
