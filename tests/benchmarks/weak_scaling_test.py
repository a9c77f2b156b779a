"""What is said of rates of 1, 2 and 4 processes."""

import subprocess
import sys

import numpy as np
import pytest

from benchmarks import weak_scaling

RATES = np.array([[100, 180, 160], [200, 320, 400], [100, 200, 200]])
SIZES = {"asked": 10.0, "embedded": 9.0, "ids": 8.0}
FOUND = [{"rate": 0, "sizes": SIZES}] * 3


def test_efficiency_is_compared_within_a_round():
  first, other = weak_scaling.figures(RATES, 2, first=2)
  assert first.value == pytest.approx(0.9)  # Of .9, .8 and 1.
  assert first.spread == pytest.approx((0.85, 0.95))
  assert other.value == pytest.approx(0.5)  # Of .4, .5 and .5.


def test_fewer_cores_than_processes_are_told():
  head, _, *rows = weak_scaling.lines(RATES, FOUND, 2)
  four = dict(zip(head.split(" | "), rows[2].split(" | "), strict=True))
  assert four["cores used"] == "2"
  assert four["at most on these cores"] == "0.500"
  assert four["share of that"] == "1.000"
  _, other = weak_scaling.figures(RATES, 2, first=2)
  assert other.unit.endswith("at most 0.5 on 2 cores")


def test_a_process_that_fails_is_told(monkeypatch):
  def start(count, me, port, core):
    # One waits for another that is gone.
    text = "sys.exit(3)" if me else "time.sleep(60)"
    program = [sys.executable, "-c", f"import sys, time; {text}"]
    return subprocess.Popen(program, stdout=subprocess.PIPE, text=True)

  monkeypatch.setattr(weak_scaling, "_start", start)
  with pytest.raises(RuntimeError, match=r"2 processes: \[None, 3\]"):
    weak_scaling.together(2, [0])
