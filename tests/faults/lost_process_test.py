"""Of two processes one is killed: the other ends too, and says why."""

import time

import pytest

from tests import processes

WITHIN_S = 60


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
@pytest.mark.parametrize("phase", ["training", "evaluation"])
def test_the_other_process_ends_and_says_why(tmp_path, killed, phase):
  run = tmp_path / "run"
  steps = {"training": 4000, "evaluation": 3}[phase]
  args = processes.train(
    run,
    1,
    train__steps=steps,
    train__batch_size=256,
    train__log_every_steps=1,
    checkpoint__every_steps=1000,
  )
  pair = processes.start_two(args, tmp_path)
  if phase == "training":
    processes.wait_for(pair, lambda: len(processes.records(run)) >= 5)
  else:
    processes.wait_for(pair, lambda: processes.checkpoints(run) == [3])
  at = time.monotonic()
  processes.kill([pair[killed]])
  ((code, _, log),) = processes.ends([pair[1 - killed]])
  seconds = time.monotonic() - at
  print(f"{phase}, {killed} killed: the other ended {seconds:.1f} s later")
  assert seconds < WITHIN_S
  # JAX itself may be first to notice that process 0 is gone, and aborts.
  assert code == 1 or (killed == 0 and code == -6), log
  assert "another process has ended" in log or "another task died" in log
  assert "Traceback" not in log
  assert not (run / "eval.json").exists()
