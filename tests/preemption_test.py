"""A run that is told to stop: it loses nothing, and ends as if it had not."""

import json
import os
import signal

import jax
import numpy as np
import pytest

from dicm_jax import checkpoint, errors, loop, preemption, task, workdir
from tests import toy

CONFIG = toy.values(
  train__batch_size=512,
  train__steps=6,
  train__log_every_steps=1,
  checkpoint__every_steps=4,
  checkpoint__keep=2,
)


def sigterm(*_) -> None:
  os.kill(os.getpid(), signal.SIGTERM)


def told_in_step(monkeypatch, step: int) -> None:
  """Lets SIGTERM come while a step is made."""
  make = loop._task

  def telling(config, folder) -> task.Task:
    made = make(config, folder)

    def one(state, batch):
      if int(state.step) + 1 == step:
        sigterm()
      return made.step(state, batch)

    return made._replace(step=one)

  monkeypatch.setattr(loop, "_task", telling)


def run(folder):
  with preemption.noticed() as notice:
    return loop.train_and_evaluate(CONFIG, folder, notice=notice)


def losses(folder):
  lines = (folder / workdir.METRICS).read_text().splitlines()
  return [(r["step"], r["loss"]) for r in map(json.loads, lines)]


def state_of(folder):
  x = toy.build(train__batch_size=512)
  found = checkpoint.restore(folder, x.state, x.inputs)
  assert found
  return found


def test_step_is_saved_and_the_restart_ends_with_the_same_bits(
  tmp_path, monkeypatch
):
  toy.small_runs(monkeypatch)
  alone, told = tmp_path / "alone", tmp_path / "told"
  figures = run(alone)
  with monkeypatch.context() as patch:
    told_in_step(patch, 5)  # No multiple of 4.
    with pytest.raises(errors.Preempted) as caught:
      run(told)
  assert str(caught.value) == "stopped after step 5, which is saved"
  assert checkpoint.steps(told) == [4, 5]
  assert [step for step, _ in losses(told)] == [1, 2, 3, 4, 5]
  assert not (told / workdir.EVAL).exists()
  assert run(told) == figures
  assert losses(told) == losses(alone)
  (found, position), (expected, _) = state_of(told), state_of(alone)
  assert position["samples"] == 6 * 512
  for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
    np.testing.assert_array_equal(a, b)


def test_told_in_the_last_step_it_is_saved_and_not_evaluated(
  tmp_path, monkeypatch
):
  toy.small_runs(monkeypatch)
  told_in_step(monkeypatch, 6)
  with pytest.raises(errors.Preempted, match="after the last step, which is"):
    run(tmp_path)
  assert checkpoint.steps(tmp_path) == [4, 6]
  assert not (tmp_path / workdir.EVAL).exists()


@pytest.mark.parametrize("method", ["_task", "_evaluate"])
def test_told_outside_of_steps_it_stops_at_once(tmp_path, monkeypatch, method):
  toy.small_runs(monkeypatch)
  make = loop._task

  def finish(*_):
    sigterm()
    raise AssertionError("not told")

  def telling(*args):
    if method == "_task":
      finish()
    return make(*args)._replace(finish=finish)

  monkeypatch.setattr(loop, "_task", telling)
  where = {"_task": "before the first step", "_evaluate": "after the last"}
  with pytest.raises(errors.Preempted, match=where[method]):
    run(tmp_path / "run")
  saved = {"_task": [], "_evaluate": [4, 6]}
  assert checkpoint.steps(tmp_path / "run") == saved[method]


def test_told_twice_is_told_once(monkeypatch):
  with preemption.noticed() as notice:
    with pytest.raises(errors.Preempted):
      sigterm()
    sigterm()
    assert notice.to_any()


def test_signal_is_given_back():
  before = signal.getsignal(signal.SIGTERM)
  with preemption.noticed():
    assert signal.getsignal(signal.SIGTERM) != before
  assert signal.getsignal(signal.SIGTERM) == before


def test_error_among_the_steps_is_not_taken_for_a_stop():
  with preemption.noticed() as notice:
    with pytest.raises(ZeroDivisionError), notice.noted():
      sigterm()
      _ = 1 / 0
    sigterm()
