"""An evaluation repeated from the checkpoint alone, on any mesh."""

import shutil

import numpy as np
import pytest
from sklearn import metrics as reference

from dicm_jax import checkpoint, errors, evaluate, workdir
from dicm_jax.data import click_log
from tests import toy
from tests.checkpoint_test import damage, files_of
from tests.loop_test import figures, finished  # noqa: F401 (a fixture)


@pytest.mark.parametrize(("mesh", "devices"), [("", 1), ("1x2", 2), ("2x1", 2)])
def test_any_mesh_gives_the_figures_of_the_run(
  finished,  # noqa: F811
  monkeypatch,
  mesh,
  devices,
):
  toy.small_runs(monkeypatch, devices=devices)
  before = files_of(finished)
  found = evaluate.evaluate_run(finished, mesh, with_slices=False)
  expected = figures(finished)
  assert files_of(finished) == before
  assert found.keys() == expected.keys()
  for name, value in expected.items():
    if isinstance(value, float):
      # Sums in another order move a probability by some 1e-7.
      assert found[name] == pytest.approx(value, abs=1e-5), name
    else:
      assert found[name] == value, name
  assert found["step"] == 6


def test_run_without_a_checkpoint(tmp_path, monkeypatch):
  toy.small_runs(monkeypatch)
  workdir.claim(tmp_path, toy.values())
  for _ in range(2):
    with pytest.raises(
      errors.InputError, match=r"holds no checkpoints?( yet)?$"
    ):
      evaluate.evaluate_run(tmp_path, "", with_slices=False)
    (tmp_path / checkpoint.FOLDER).mkdir(exist_ok=True)


def test_folder_without_a_run(tmp_path):
  with pytest.raises(errors.InputError, match=r"holds no config\.json"):
    evaluate.evaluate_run(tmp_path, "", with_slices=False)


@pytest.mark.parametrize("mesh", ["2", "2x", "axb", "2x2x2", "-1x2"])
def test_mesh_that_is_none(finished, mesh):  # noqa: F811
  with pytest.raises(errors.InputError, match=f"--mesh: .* found '{mesh}'"):
    evaluate.evaluate_run(finished, mesh, with_slices=False)


def test_state_that_predicts_no_numbers_has_no_figures():
  x = toy.build(train__batch_size=512)
  wrong = x.state._replace(ids=x.state.ids * np.inf)
  with pytest.raises(
    errors.NonFiniteError, match="some predictions are no numb"
  ):
    evaluate.predict(x, wrong, x.data.test)


def test_figures_are_of_the_test_split_and_of_its_cold_part():
  data = toy.dataset()
  log = data.test
  score = np.random.default_rng(0).random(log.num_samples)
  found = evaluate.figures(data, score)
  cold = click_log.cold_samples(data.train, log)
  assert found["impressions"] == log.num_samples
  assert found["impressions_cold"] == cold.sum()
  assert found["users"] == len(np.unique(log.user[log.group]))
  # Both are exact but for the rounding of the last digits.
  for name, value in (
    ("auc", reference.roc_auc_score(log.label, score)),
    ("logloss", reference.log_loss(log.label, score)),
    ("calibration", score.mean() / log.label.mean()),
    ("bayes_auc", reference.roc_auc_score(log.label, log.true_probability)),
  ):
    assert found[name] == pytest.approx(value, rel=1e-6), name


def test_evaluation_needs_no_more_than_config_and_checkpoints(
  finished,  # noqa: F811
  tmp_path,
  monkeypatch,
):
  toy.small_runs(monkeypatch)
  (tmp_path / "run").mkdir()
  shutil.copy(finished / workdir.CONFIG, tmp_path / "run")
  shutil.copytree(
    finished / checkpoint.FOLDER, tmp_path / "run" / checkpoint.FOLDER
  )
  found = evaluate.evaluate_run(tmp_path / "run", "", with_slices=False)
  assert found == figures(finished)


def test_checkpoint_deleted_while_it_is_read_gives_way_to_a_newer(
  finished,  # noqa: F811
  tmp_path,
  monkeypatch,
  caplog,
):
  toy.small_runs(monkeypatch)
  run = shutil.copytree(finished, tmp_path / "run")
  saved = run / checkpoint.FOLDER
  (saved / "6").rename(saved / "hidden")
  read = checkpoint.restore

  def overtaken(*args):
    if (saved / "hidden").exists():  # Training saves 6, and deletes the rest.
      (saved / "hidden").rename(saved / "6")
      shutil.rmtree(saved / "2")
      shutil.rmtree(saved / "4")
      raise errors.InputError("none of the checkpoints can be read")
    return read(*args)

  monkeypatch.setattr(checkpoint, "restore", overtaken)
  with caplog.at_level("INFO", "dicm_jax"):
    assert evaluate.evaluate_run(run, "", with_slices=False)["step"] == 6
  assert "a newer checkpoint" in caplog.text


def test_damage_is_reported_though_the_run_is_at_work(
  finished,  # noqa: F811
  tmp_path,
  monkeypatch,
):
  toy.small_runs(monkeypatch)
  run = shutil.copytree(finished, tmp_path / "run")
  for step in checkpoint.steps(run):
    damage(run, step)
  with pytest.raises(errors.InputError, match="can be read"):
    evaluate.evaluate_run(run, "", with_slices=False)
