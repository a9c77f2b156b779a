"""SIGTERM stops the real command, whose restart ends with the same bits."""

import pathlib
import signal
import time

import pytest

from tests import processes
from tests.faults import kill_anywhere

STEPS = 40
WITHIN_S = 60
"""Twice of what is promised: other tests may run on the same cores."""


def train(folder: pathlib.Path, devices: int) -> list[str]:
  return processes.train(
    folder,
    devices,
    train__steps=STEPS,
    train__batch_size=256,
    train__log_every_steps=1,
    checkpoint__every_steps=6,
  )


def stop(begun, told) -> list[str]:
  """Sends SIGTERM to some; the logs of all, which must end soon and well."""
  at = time.monotonic()
  for process in told:
    process.send_signal(signal.SIGTERM)
  ends = processes.ends(begun)
  assert [code for code, _, _ in ends] == [0] * len(begun), ends
  seconds = time.monotonic() - at
  print(f"{len(begun)} of them ended {seconds:.1f} s after SIGTERM")
  assert seconds < WITHIN_S
  return [log for _, _, log in ends]


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_stopped_run_goes_on_to_the_same_bits(tmp_path, count):
  def begin(name: str):
    args = train(tmp_path / name, 2 // count)
    if count == 1:
      return [processes.start(args, tmp_path)]
    return processes.start_two(args, tmp_path)

  processes.finish(begin("alone"))
  stopped = tmp_path / "stopped"
  begun = begin("stopped")
  processes.wait_for(begun, lambda: len(processes.records(stopped)) >= 7)
  logs = stop(begun, begun[-1:])
  step = processes.checkpoints(stopped)[-1]
  assert 7 <= step < STEPS
  assert len(processes.records(stopped)) == step
  for log in logs:
    assert f"(SIGTERM): stopped after step {step}, which is saved; the" in log

  processes.finish(begin("stopped"))
  alone = tmp_path / "alone"
  assert processes.losses(stopped) == processes.losses(alone)
  kill_anywhere.assert_same_arrays(stopped, alone)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_told_before_the_first_step_there_is_nothing_to_save(tmp_path, count):
  args = train(tmp_path / "run", 1)
  begun = (
    [processes.start(args, tmp_path)]
    if count == 1
    else processes.start_two(args, tmp_path)
  )
  # Made when the pictures are encoded, which takes some seconds more.
  processes.wait_for(begun, lambda: (tmp_path / "dicm_jax").exists())
  logs = stop(begun, begun)
  assert not processes.checkpoints(tmp_path / "run")
  for log in logs:
    assert "before the first step, so there was nothing to save" in log
