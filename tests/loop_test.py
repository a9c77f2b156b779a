"""A whole run: it ends soundly or says why, and keeps what it had."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from dicm_jax import checkpoint, errors, evaluate, loop, predict, workdir
from tests import checkpoint_test, toy
from tests.faults import damage_test

LENGTH = {
  "train__batch_size": 512,
  "train__steps": 6,
  "checkpoint__every_steps": 2,
  "checkpoint__keep": 5,
}
CONFIG = toy.values(**LENGTH)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """The folder of a run of 6 steps; not to be changed."""
  folder = tmp_path_factory.mktemp("finished") / "run"
  with pytest.MonkeyPatch.context() as monkeypatch:
    toy.small_runs(monkeypatch)
    loop.train_and_evaluate(CONFIG, folder)
  return folder


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
  """A copy of that folder."""
  toy.small_runs(monkeypatch)
  return shutil.copytree(finished, tmp_path / "run")


def figures(folder):
  return json.loads((folder / workdir.EVAL).read_text())


def refused(config, folder):
  """The message of a run that is refused and changes nothing."""
  before = checkpoint_test.files_of(folder)
  with pytest.raises(errors.InputError) as caught:
    loop.train_and_evaluate(config, folder)
  assert checkpoint_test.files_of(folder) == before
  return str(caught.value)


def test_damaged_newest_checkpoint_is_made_again(run):
  checkpoint_test.damage(run, 6)
  before = figures(run)
  again = loop.train_and_evaluate(CONFIG, run)
  assert again == before == figures(run)
  assert checkpoint.steps(run) == [2, 4, 6]
  assert evaluate.evaluate_run(run, "", with_slices=False) == before


def test_run_cannot_end_before_the_step_it_has_come_to(run):
  message = refused(toy.values(**LENGTH | {"train__steps": 5}), run)
  assert message.startswith("train.steps: expected >= 6, the steps that the")
  assert message.endswith("found 5")


def test_swapped_inputs_are_refused(run, monkeypatch):
  swapped = dataclasses.replace(toy.dataset(), digest="other")
  toy.small_runs(monkeypatch, data=swapped)
  message = refused(toy.values(**LENGTH | {"train__steps": 9}), run)
  assert message.endswith("\n  data.path:  -> other")
  with pytest.raises(errors.InputError, match=r"data\.path: "):
    evaluate.evaluate_run(run, "", with_slices=False)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"format": 2, "version": "9.9"}, "was written by dicm_jax 9.9 in format"),
    ({"config": {}}, "is of a run of another config"),
  ],
)
def test_newer_or_foreign_checkpoint_is_refused(run, change, message):
  damage_test.rewrite(run, lambda p: p.update(change), sealed=True, step=6)
  found = refused(toy.values(**LENGTH | {"train__steps": 9}), run)
  assert f"checkpoint 6 of {run} {message}" in found


@pytest.mark.parametrize("rate", [1e30, 1e38])
def test_useless_state_is_never_saved(tmp_path, monkeypatch, rate):
  toy.small_runs(monkeypatch)
  config = toy.values(
    train__steps=1,
    train__batch_size=512,
    checkpoint__every_steps=1,
    dense_optimizer__learning_rate=rate,
  )
  with pytest.raises(errors.NonFiniteError) as caught:
    loop.train_and_evaluate(config, tmp_path / "run")
  message = str(caught.value)
  assert message.startswith("step 1 made a useless state, so training stopped")
  assert "there is none" in message
  assert message.endswith("in a new --workdir")
  assert checkpoint.steps(tmp_path / "run") == []
  assert not (tmp_path / "run" / workdir.EVAL).exists()


def test_loss_that_is_no_number_stops_the_run(tmp_path, monkeypatch):
  toy.small_runs(monkeypatch)
  config = toy.values(
    dense_optimizer__learning_rate=1e30, train__batch_size=512
  )
  with pytest.raises(errors.NonFiniteError, match="step 2: the loss is nan"):
    loop.train_and_evaluate(config, tmp_path)
  assert checkpoint.steps(tmp_path) == []


def test_row_that_no_batch_reads_counts_too(monkeypatch):
  x = toy.build(train__batch_size=512)
  batch = next(x.batches(0, 1))
  is_sound = predict.make_check(x.program, x.state)
  assert is_sound(x.state, x.content, batch)
  unread = x.state.ids.at[-1, -1, -1].set(np.nan)
  assert not is_sound(x.state._replace(ids=unread), x.content, batch)


def test_sizes_of_arrays_do_not_depend_on_the_length_of_the_run():
  short, long = (
    toy.build(train__steps=steps, train__batch_size=512) for steps in (1, 30)
  )
  assert short.capacities == long.capacities
