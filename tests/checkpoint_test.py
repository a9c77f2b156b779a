"""Checkpoints: the newest sound one is read, a damaged one is replaced."""

import logging
import shutil
import sys
import time
import types

import jax.numpy as jnp
import numpy as np
import pytest

from dicm_jax import checkpoint, command, errors

INPUTS = {"data.path": "a1", "image.weights": "b2"}


def state_of(step: int):
  """Several arrays: where one is damaged, others are still being read."""
  return {
    f"part{i}": jnp.full((50, 50), step + i, jnp.float32) for i in range(9)
  }


def write(workdir, *steps, inputs=INPUTS):
  with checkpoint.manager(workdir, keep=5) as opened:
    for step in steps:
      position = {"step": step, "inputs": inputs}
      checkpoint.save(opened, step, state_of(step), position)


def damage(workdir, step: int, item: str = "state"):
  """Cuts every file of a checkpoint's item short."""
  files = [
    file
    for file in (workdir / checkpoint.FOLDER / str(step) / item).rglob("*")
    if file.is_file() and not file.name.startswith("_")
  ]
  assert files
  for file in files:
    file.write_bytes(file.read_bytes()[:10])


def files_of(folder):
  return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def step_read(workdir, inputs=INPUTS):
  """The step that the newest sound checkpoint is of."""
  state, position = checkpoint.restore(workdir, state_of(0), inputs)
  for name, expected in state_of(position["step"]).items():
    np.testing.assert_array_equal(state[name], expected)
  return position["step"]


def test_newest_is_read_and_the_folder_left_as_it_is(tmp_path):
  write(tmp_path, 2, 4, 6)
  before = files_of(tmp_path)
  assert checkpoint.steps(tmp_path) == [2, 4, 6]
  assert step_read(tmp_path) == 6
  assert files_of(tmp_path) == before


def test_numpy_arrays_are_copied_before_save_returns(tmp_path):
  state = {"rows": np.ones((256, 10_000, 4), np.float32)}
  with checkpoint.manager(tmp_path) as opened:
    checkpoint.save(opened, 2, state, {"step": 2})
    state["rows"][:] = 7
  found, _ = checkpoint.restore(tmp_path, state, {})
  assert isinstance(found["rows"], np.ndarray)
  assert (found["rows"] == 1).all()


def test_run_without_checkpoints(tmp_path):
  assert checkpoint.steps(tmp_path) == []
  assert checkpoint.restore(tmp_path, state_of(0), INPUTS) is None
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("item", ["state", "position"])
def test_damaged_one_is_passed_over_and_then_replaced(tmp_path, caplog, item):
  write(tmp_path, 2, 4, 6)
  damage(tmp_path, 6, item)
  with caplog.at_level(logging.WARNING, "dicm_jax"):
    assert step_read(tmp_path) == 4
  assert f"checkpoint 6 of {tmp_path} cannot be read" in caplog.text
  damaged = files_of(tmp_path / checkpoint.FOLDER / "6").values()
  checkpoint.set_aside(tmp_path, 4)
  assert checkpoint.steps(tmp_path) == [2, 4]
  kept = files_of(tmp_path / checkpoint.DAMAGED / "6").values()
  assert sorted(kept) == sorted(damaged)
  write(tmp_path, 6)
  assert step_read(tmp_path) == 6


def test_checkpoints_set_aside_have_names_of_their_own(tmp_path):
  for _ in range(3):
    write(tmp_path, 6)
    checkpoint.set_aside(tmp_path, 4)
  names = [p.name for p in (tmp_path / checkpoint.DAMAGED).iterdir()]
  assert sorted(names) == ["6", "6.1", "6.2"]


def test_what_killed_processes_left_goes_when_the_run_goes_on(tmp_path):
  write(tmp_path, 2, 4, 6)
  folder = tmp_path / checkpoint.FOLDER
  (folder / "8.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
  shutil.rmtree(folder / "2" / "state")  # Half deleted.
  with checkpoint.manager(tmp_path, keep=2) as saved:
    checkpoint.drop_surplus(saved, keep=2)
  deadline = time.monotonic() + 10  # A thread cleans up.
  while len(list(folder.iterdir())) > 2 and time.monotonic() < deadline:
    time.sleep(0.01)
  assert sorted(p.name for p in folder.iterdir()) == ["4", "6"]
  assert step_read(tmp_path) == 6


def test_late_answers_to_a_closed_loop_are_hidden_and_nothing_else(monkeypatch):
  shown = []
  monkeypatch.setattr(sys, "unraisablehook", shown.append)
  *late, other = (
    types.SimpleNamespace(exc_value=RuntimeError(text))
    for text in (*command._LATE, "something else")
  )
  command.hide_late_answers()
  for what in (*late, other):
    sys.unraisablehook(what)
  assert shown == [other]


def test_run_of_damaged_checkpoints_alone_is_refused(tmp_path):
  write(tmp_path, 2, 4)
  damage(tmp_path, 2)
  damage(tmp_path, 4)
  before = files_of(tmp_path)
  with pytest.raises(
    errors.InputError, match=r"none of .* \[2, 4\] can be rea"
  ):
    checkpoint.restore(tmp_path, state_of(0), INPUTS)
  assert files_of(tmp_path) == before


def test_step_that_is_there_is_not_silently_kept(tmp_path):
  write(tmp_path, 2)
  with pytest.raises(AssertionError, match="step 2 is not newer than 2"):
    write(tmp_path, 2)


@pytest.mark.parametrize("key", INPUTS)
def test_other_contents_are_refused_by_the_key_that_names_them(tmp_path, key):
  write(tmp_path, 2)
  with pytest.raises(errors.InputError) as caught:
    checkpoint.restore(tmp_path, state_of(0), INPUTS | {key: "c3"})
  message = str(caught.value)
  assert message.startswith(f"--workdir: {tmp_path} was trained on other")
  assert message.endswith(f"\n  {key}: {INPUTS[key]} -> c3")


def test_checkpoint_of_unknown_contents_is_taken_as_it_is(tmp_path):
  with checkpoint.manager(tmp_path) as opened:
    checkpoint.save(opened, 2, state_of(2), {"step": 2})
  assert step_read(tmp_path) == 2
