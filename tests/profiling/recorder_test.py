"""A run with --profile trains as always, and says where its time went."""

import json

import jax
import pytest

from dicm_jax import click_task, errors, loop, workdir
from dicm_jax.pairwise import task as pairwise_task
from dicm_jax.profiling import parts, recorder, summary
from tests import toy
from tests.pairwise import runs

LENGTH = {
  "train__steps": 14,
  "train__log_every_steps": 1,
  "checkpoint__every_steps": 7,
  # So that there is something frozen without an encoder in the step.
  "model__frozen_width": 4,
}


def losses(task, steps):
  """Of a run of so many steps."""
  state, found = task.state, []
  for batch in task.batches(0, steps):
    state, loss = task.step(state, batch)
    found.append(float(loss))
  return found


def test_profile_names_all_parts_and_changes_no_bit(tmp_path, monkeypatch):
  toy.small_runs(monkeypatch, devices=2)
  task = click_task.make(toy.values(**LENGTH), tmp_path)
  made = recorder.Recorder(task, tmp_path)
  profiled = task._replace(
    state=jax.tree.map(lambda leaf: leaf.copy(), task.state),
    batches=made.batches,
    step=made.step,
  )
  assert losses(profiled, 14) == losses(task, 14)
  found = made.summary()
  assert (found.first_step, found.steps) == (11, 4)
  assert sum(found.shares.values()) == pytest.approx(1)
  assert set(parts.PARTS) < set(found.shares)
  assert all(found.shares[part] > 0 for part in parts.PARTS)
  assert found.shares[summary.UNATTRIBUTED] < 0.02
  assert 0 < found.input_thread.dedup_ms < found.input_thread.batch_ms


def profile_of(folder):
  return json.loads((folder / workdir.PROFILE).read_text())


@pytest.mark.slow
def test_run_is_profiled_anew_when_it_goes_on(tmp_path, monkeypatch):
  toy.small_runs(monkeypatch)
  for steps, first in ((14, 11), (25, 25)):
    config = toy.values(**LENGTH | {"train__steps": steps})
    loop.train_and_evaluate(config, tmp_path, profile=True)
    found = profile_of(tmp_path)
    assert found["first_step"] == first
    assert sum(found["shares"].values()) == pytest.approx(1)
    assert found["input_thread"]["dedup_ms"] > 0
  traces = (tmp_path / workdir.TRACES).rglob("*.xplane.pb")
  assert len(list(traces)) == 2


@pytest.mark.slow
def test_pairs_are_profiled_too(tmp_path, monkeypatch):
  make = pairwise_task.make
  monkeypatch.setattr(
    pairwise_task,
    "make",
    lambda config: make(config, data=toy.dataset(), devices=jax.devices()[:1]),
  )
  config = runs.values(train__steps=12, checkpoint__every_steps=12)
  loop.train_and_evaluate(config, tmp_path, profile=True)
  found = profile_of(tmp_path)
  assert found["shares"][parts.LAYERS] > 0
  assert found["shares"][parts.DENSE_UPDATE] > 0
  assert found["shares"][summary.UNATTRIBUTED] < 0.02
  assert found["input_thread"] is None


def test_too_short_a_run_is_refused_before_anything_is_written(
  tmp_path, monkeypatch
):
  toy.small_runs(monkeypatch)
  config = toy.values(**LENGTH | {"train__steps": 10})
  with pytest.raises(errors.InputError, match=r"at least 11 steps.*found 10"):
    loop.train_and_evaluate(config, tmp_path / "run", profile=True)
  assert not (tmp_path / "run").exists()
