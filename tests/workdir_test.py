"""A run's folder: its own or none's, and never half-written."""

import json
import os
import pathlib

import pytest

from dicm_jax import config_tree, errors, workdir
from tests import toy

CONFIG = toy.values()


def contents(path):
  """Every file below a folder, with its bytes."""
  return {
    str(file.relative_to(path)): file.read_bytes()
    for file in sorted(path.rglob("*"))
    if file.is_file()
  }


def refused(path, config=CONFIG):
  """The message of a folder that both `check` and `claim` refuse."""
  with pytest.raises(errors.InputError) as checked:
    workdir.check(path, config)
  with pytest.raises(errors.InputError) as claimed:
    workdir.claim(path, config)
  assert str(checked.value) == str(claimed.value)
  return str(claimed.value)


@pytest.mark.parametrize("name", ["new", "deep/er/new", "."])
def test_new_or_empty_folder_is_claimed(tmp_path, name):
  workdir.claim(tmp_path / name, CONFIG)
  assert list(contents(tmp_path / name)) == [workdir.CONFIG]
  assert workdir.read_config(tmp_path / name) == CONFIG


def test_check_alone_changes_nothing(tmp_path):
  workdir.check(tmp_path / "new", CONFIG)
  workdir.check(tmp_path, CONFIG)
  assert list(tmp_path.iterdir()) == []


def test_run_of_the_same_config_goes_on_in_its_folder(tmp_path):
  workdir.claim(tmp_path, CONFIG)
  workdir.append_metrics(tmp_path, {"step": 1})
  before = contents(tmp_path)
  workdir.claim(tmp_path, CONFIG)
  assert contents(tmp_path) == before


def test_restart_on_another_mesh_for_longer_is_the_same_run(tmp_path, caplog):
  caplog.set_level("INFO", "dicm_jax")
  workdir.claim(tmp_path, CONFIG)
  workdir.claim(tmp_path, CONFIG)
  assert not caplog.messages
  longer = toy.values(mesh__worker=2, train__steps=99, checkpoint__keep=5)
  workdir.claim(tmp_path, longer)
  now = config_tree.flatten(CONFIG)
  assert caplog.messages == [
    f"changed since the last start: {key}: {now[key]} -> {value}"
    for key, value in (
      ("checkpoint.keep", 5),
      ("mesh.worker", 2),
      ("train.steps", 99),
    )
  ]
  assert workdir.read_config(tmp_path) == longer


def test_folder_of_another_config_is_refused_and_left_alone(tmp_path):
  workdir.claim(tmp_path, CONFIG)
  workdir.append_metrics(tmp_path, {"step": 1})
  before = contents(tmp_path)
  other = toy.values(seed=7, model__images="ad", train__steps=99)
  message = refused(tmp_path, other)
  assert str(tmp_path) in message
  assert "seed: 0 -> 7" in message
  assert "model.images: 'both' -> 'ad'" in message
  assert "train.steps" not in message
  assert contents(tmp_path) == before


def test_folder_with_files_of_another_kind_is_refused(tmp_path):
  (tmp_path / "thesis.txt").write_text("precious")
  before = contents(tmp_path)
  message = refused(tmp_path)
  assert str(tmp_path) in message
  assert workdir.CONFIG in message
  assert contents(tmp_path) == before


def test_file_in_place_of_a_folder_is_refused(tmp_path):
  file = tmp_path / "run"
  file.write_text("precious")
  assert f"{file} is a file" in refused(file)
  assert file.read_text() == "precious"


def test_folder_below_a_file_cannot_be_made(tmp_path):
  file = tmp_path / "file"
  file.write_text("precious")
  with pytest.raises(errors.InputError) as caught:
    workdir.claim(file / "run", CONFIG)
  assert str(caught.value) == f"--workdir: {file / 'run'}: Not a directory"
  assert file.read_text() == "precious"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_in_a_read_only_one_cannot_be_made(tmp_path):
  tmp_path.chmod(0o500)
  with pytest.raises(errors.InputError, match=r"run: Permission denied$"):
    workdir.claim(tmp_path / "run", CONFIG)


def test_folder_that_must_not_be_made_is_named(tmp_path, monkeypatch):
  def deny(*_, **__):
    raise PermissionError(13, "Permission denied")

  monkeypatch.setattr(pathlib.Path, "mkdir", deny)
  with pytest.raises(errors.InputError, match=r"run: Permission denied$"):
    workdir.claim(tmp_path / "run", CONFIG)


def test_lock_of_a_claim_killed_at_once_is_no_other_files(tmp_path):
  (tmp_path / workdir.LOCK).write_text("{}")
  workdir.claim(tmp_path, CONFIG)
  assert workdir.read_config(tmp_path) == CONFIG


def test_claim_killed_halfway_can_be_repeated(tmp_path, monkeypatch):
  def kill(*_):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(os, "replace", kill)
    with pytest.raises(KeyboardInterrupt):
      workdir.claim(tmp_path, CONFIG)
  workdir.claim(tmp_path, CONFIG)
  assert list(contents(tmp_path)) == [workdir.CONFIG]


def test_damaged_config_is_named_with_its_line(tmp_path):
  file = tmp_path / workdir.CONFIG
  file.write_text('{\n  "seed": 0,\n  "data": ?\n}\n')
  before = contents(tmp_path)
  message = refused(tmp_path)
  assert message.startswith(f"{file}, line 3: ")
  assert contents(tmp_path) == before


@pytest.mark.parametrize(
  "damaged, reason",
  [
    (b"", "line 1"),
    (b"\xff\xfe\x00", "utf-8"),
    (b"[]", "expected a section"),
    (b'{"seed": 0}', "config key data is missing"),
    (b"9" * 5000, "4300 digits"),
    (b"[" * 100_000, "recursion"),
    (b'{"task": []}', "unknown task"),
  ],
)
def test_config_that_is_none_is_named(tmp_path, damaged, reason):
  file = tmp_path / workdir.CONFIG
  file.write_bytes(damaged)
  message = refused(tmp_path)
  assert message.startswith(str(file))
  assert reason in message


def test_config_of_a_folder_without_a_run(tmp_path):
  with pytest.raises(errors.InputError) as caught:
    workdir.read_config(tmp_path)
  assert f"{tmp_path} holds no {workdir.CONFIG}" in str(caught.value)


def test_config_json_is_of_the_config(tmp_path):
  workdir.claim(tmp_path, CONFIG)
  text = (tmp_path / workdir.CONFIG).read_text()
  assert text == config_tree.to_json(CONFIG)


def metrics_after(path, step):
  workdir.keep_metrics_until(path, step)
  lines = (path / workdir.METRICS).read_text().splitlines()
  return [json.loads(line) for line in lines]


def test_metrics_of_later_steps_are_dropped(tmp_path):
  records = [{"step": step, "loss": 1 / step} for step in (10, 20, 30)]
  for record in records:
    workdir.append_metrics(tmp_path, record)
  assert metrics_after(tmp_path, 40) == records
  assert metrics_after(tmp_path, 20) == records[:2]
  workdir.append_metrics(tmp_path, {"step": 25})
  assert metrics_after(tmp_path, 25) == [*records[:2], {"step": 25}]
  assert metrics_after(tmp_path, 0) == []


@pytest.mark.parametrize("cut", ["{", '{"st', '{"step": 20, "lo', "{}", "2"])
def test_half_written_lines_are_dropped(tmp_path, cut):
  workdir.append_metrics(tmp_path, {"step": 10})
  with (tmp_path / workdir.METRICS).open("a") as file:
    file.write(cut)
  assert metrics_after(tmp_path, 30) == [{"step": 10}]
  workdir.append_metrics(tmp_path, {"step": 20})
  assert metrics_after(tmp_path, 30) == [{"step": 10}, {"step": 20}]


def test_run_without_metrics_starts_with_none(tmp_path):
  assert metrics_after(tmp_path, 0) == []


def test_json_is_written_whole(tmp_path):
  file = tmp_path / workdir.EVAL
  workdir.write_json(file, {"b": None, "a": 0.5})
  assert file.read_text() == '{\n  "a": 0.5,\n  "b": null\n}\n'
  assert list(contents(tmp_path)) == [workdir.EVAL]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_json_that_cannot_be_written_leaves_the_old(tmp_path, value):
  file = tmp_path / workdir.EVAL
  workdir.write_json(file, {"auc": 0.5})
  before = contents(tmp_path)
  with pytest.raises((ValueError, TypeError)):
    workdir.write_json(file, {"auc": value})
  assert contents(tmp_path) == before


def test_write_that_fails_leaves_the_old(tmp_path, monkeypatch):
  file = tmp_path / workdir.EVAL
  workdir.write_json(file, {"auc": 0.5})
  before = file.read_bytes()
  write = pathlib.Path.write_text

  def half(path, text):
    write(path, text[: len(text) // 2])
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(pathlib.Path, "write_text", half)
  with pytest.raises(
    errors.WriteError, match=r"eval\.json cannot.*No space left"
  ):
    workdir.write_json(file, {"auc": 0.75})
  assert file.read_bytes() == before
