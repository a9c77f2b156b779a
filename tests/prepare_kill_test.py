"""A preparation killed at random moments ends as an undisturbed one does."""

import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.data import logs

KILLS = 20
PROGRAM = """
import pathlib, sys
from tests.data import logs
from dicm_jax.data import image_store, source
from dicm_jax.data.preparation import job as job_lib
from dicm_jax.data.preparation import spill
spill.CHUNK_ROWS = 512
job_lib.PARTITION_EVENTS = 200
image_store.PART_PICTURES = 4
folder = pathlib.Path(sys.argv[1])
files = tuple(sorted((folder / "log").glob("*.parquet")))
events = source.Events(schema=logs.SCHEMA, files=files, read=logs.read)
logs.prepare(job_lib.Job(events=events, out=pathlib.Path(sys.argv[2])))
"""


def start(folder: pathlib.Path, out: pathlib.Path) -> subprocess.Popen:
  return subprocess.Popen(
    [sys.executable, "-c", PROGRAM, str(folder), str(out)],
    cwd=pathlib.Path(__file__).parents[1],
  )


def contents(out: pathlib.Path) -> dict[str, bytes]:
  return {
    p.relative_to(out).as_posix(): p.read_bytes()
    for p in out.rglob("*")
    if p.is_file()
  }


@pytest.mark.slow
def test_killed_preparation_ends_with_the_same_bytes(tmp_path):
  logs.write(tmp_path / "log", logs.rows(users=60, events=6000), files=4)
  begun = time.monotonic()
  assert start(tmp_path, tmp_path / "undisturbed").wait() == 0
  seconds = time.monotonic() - begun
  expected = contents(tmp_path / "undisturbed")
  assert len(expected) > 20
  out, moments, killed = tmp_path / "killed", random.Random(0), 0
  left = set()
  while killed < KILLS:
    process = start(tmp_path, out)
    try:
      process.wait(moments.uniform(0.3, 1.0) * seconds)
    except subprocess.TimeoutExpired:
      process.send_signal(signal.SIGKILL)
      process.wait()
      killed += 1
      left.add(len(contents(out)))
    else:  # It came to its end before the signal: begin anew.
      assert contents(out) == expected
      for path in sorted(out.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
  assert start(tmp_path, out).wait() == 0
  assert contents(out) == expected
  assert len(left) > KILLS // 3, "too few kills hit the work itself"
