"""A run does not grow, and the script that says so can see one that does."""

import os
import pathlib

import pytest

from tests.faults import long_run

needs_proc = pytest.mark.skipif(
  not pathlib.Path("/proc/self/status").exists(), reason="no /proc here"
)


def looks(mb_a_step: float = 0.0, files_a_step: float = 0.0):
  return [
    long_run.Look(
      step,
      resident_mb=1000 + mb_a_step * step,
      open_files=20 + int(files_a_step * step),
      threads=30,
    )
    for step in range(100, 10_100, 100)
  ]


def test_flat_run_is_flat():
  found = long_run.found(looks(), [5.0] * 100)
  assert found.mb_per_1000_steps == pytest.approx(0, abs=1e-6)
  assert found[1:] == (0, 0, 1.0)


def test_growth_and_slowing_down_are_seen():
  rates = [5.0] * 50 + [4.0] * 50
  found = long_run.found(looks(0.002, 0.01), rates)
  assert found.mb_per_1000_steps == pytest.approx(2.0)
  assert found.more_files == 46
  assert found.rate == pytest.approx(0.8)


def test_warm_up_does_not_count():
  cold = [one._replace(resident_mb=10.0) for one in looks()[:9]]
  found = long_run.found(cold + looks()[9:], [1.0] * 10 + [5.0] * 90)
  assert found.mb_per_1000_steps == pytest.approx(0, abs=1e-6)
  assert found.rate == 1.0


@needs_proc
def test_looks_at_a_living_process(tmp_path):
  before = long_run.look(os.getpid(), 7)
  with (tmp_path / "file").open("w"):
    held = long_run.look(os.getpid(), 7)
  assert held.open_files == before.open_files + 1
  assert before.step == 7 and before.resident_mb > 10 and before.threads >= 1


@needs_proc
@pytest.mark.slow
def test_run_holds_no_more_of_anything_as_it_goes():
  found, seen = long_run.run(steps=5000)
  assert seen["looks"] > 20
  assert found.more_files <= 2 and found.more_threads <= 2
  # The first checkpoints leave their buffers behind: a short run measures
  # coarsely, the script with its 20 000 steps to less than 1.
  assert found.mb_per_1000_steps < 15
