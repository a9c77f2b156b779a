"""Finished runs are evaluated again, by slice, and against one another."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import pytest

from dicm_jax import checkpoint, errors, evaluate, restore, workdir
from tests import toy
from tests.data import logs

ROOT = pathlib.Path(__file__).parents[1]
METRICS = ("auc", "gauc", "logloss", "auc_cold")


def test_figures_are_flat_and_have_their_intervals():
  x = toy.build()
  found = evaluate.evaluate(x, x.state, toy.values()).figures
  json.dumps(found, allow_nan=False)
  assert not any(isinstance(value, dict | list) for value in found.values())
  for name in ("auc", "gauc", "logloss"):
    assert found[f"{name}_low"] < found[name] < found[f"{name}_high"]
  # All pictures were shown in training.
  assert found["auc_cold"] is found["auc_cold_low"] is None
  assert 0 < found["auc_within_ad"] < 1


def test_ads_without_a_picture_are_no_ad_to_compare_within():
  data = dataclasses.replace(toy.dataset(), no_image=3)
  p = data.test.label * 0.5 + 0.25
  missing = data.test.ad_image == 3
  assert 0 < data.test.label[missing].mean() < 1
  p[missing] = 0.75 - 0.5 * data.test.label[missing]
  assert evaluate.figures(data, p)["auc_within_ad"] == 1
  assert evaluate.figures(toy.dataset(), p)["auc_within_ad"] < 1


def test_what_is_wrong_with_the_second_run_is_told_before_any_work(
  tmp_path, monkeypatch
):
  def work(*_):
    raise AssertionError("restored a run")

  monkeypatch.setattr(restore, "restore", work)
  for name in ("run", "begun"):
    workdir.claim(tmp_path / name, toy.values())
  (tmp_path / "run" / checkpoint.FOLDER).mkdir()
  for name, mesh, message in (
    ("nowhere", "", "nowhere holds no config.json"),
    ("begun", "", "begun holds no checkpoints"),
    ("run", "8", "--mesh: expected e.g. 2x4, found '8'"),
  ):
    with pytest.raises(errors.InputError) as caught:
      evaluate.compare_runs(tmp_path / "run", tmp_path / name, mesh)
    assert message in str(caught.value)


def command(module, cache, *args):
  """Runs a command on one device; returns what it prints."""
  done = subprocess.run(
    [sys.executable, "-m", f"dicm_jax.{module}", "--cpu_devices=1", *args],
    capture_output=True,
    text=True,
    check=False,
    cwd=ROOT,
    env=os.environ | {"XDG_CACHE_HOME": str(cache)},
    timeout=600,
  )
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Two equal runs, and one of another seed."""
  at = tmp_path_factory.mktemp("evaluate")
  data = logs.prepare(logs.job(at / "data", logs.rows()))
  for name, seed in (("run", 0), ("twin", 0), ("seed", 7)):
    command(
      "main",
      at,
      f"--config={ROOT / 'configs/quickstart.py'}",
      f"--workdir={at / name}",
      f"--config.data.path={data}",
      f"--config.seed={seed}",
      "--config.train.steps=3",
      "--config.train.batch_size=64",
    )
  return at


def read(file):
  return json.loads(file.read_text())


@pytest.mark.slow
def test_evaluation_from_the_checkpoint_repeats_the_files(folder):
  run = folder / "run"
  found = command("evaluate", folder, f"--workdir={run}", "--slices")
  assert found.pop("slices") == read(run / workdir.SLICES)
  assert found == read(run / workdir.EVAL)


@pytest.mark.slow
def test_slices_json_has_all_cuts_of_the_test_split(folder):
  found = read(folder / "run" / workdir.SLICES)
  whole = read(folder / "run" / workdir.EVAL)["impressions"]
  missing = found["picture"][0]
  assert missing["slice"] == "missing"
  assert missing["impressions"] > 0
  pictured = whole - missing["impressions"]
  assert {
    name: sum(part["impressions"] for part in parts)
    for name, parts in found.items()
  } == {
    "ad_age_days": pictured,
    "ad_impressions": pictured,
    "history_length": whole,
    "picture": whole,
  }


def compared(folder, other):
  run, against = folder / "run", folder / other
  found = command(
    "evaluate", folder, f"--workdir={run}", f"--against={against}"
  )
  assert (found["a"], found["b"]) == (str(run), str(against))
  assert set(found["metrics"]) == set(METRICS)
  return found["metrics"]


@pytest.mark.slow
def test_equal_runs_differ_by_exactly_0(folder):
  found = compared(folder, "twin")
  for name in ("auc", "gauc", "logloss"):
    row = found[name]
    assert (row["difference"], row["low"], row["high"]) == (0, 0, 0)
    assert row["excludes_0"] is False


@pytest.mark.slow
def test_runs_of_two_seeds_differ_by_their_figures(folder):
  found = compared(folder, "seed")
  for side, name in (("a", "run"), ("b", "seed")):
    figures = read(folder / name / workdir.EVAL)
    for metric in ("auc", "gauc", "logloss"):
      # Both are float64; they differ by the order of additions.
      expected = pytest.approx(figures[metric], rel=1e-12)
      assert found[metric][side] == expected
  row = found["logloss"]
  assert row["low"] < row["high"]
  assert row["low"] <= row["difference"] <= row["high"]


@pytest.mark.slow
def test_slices_are_not_compared(tmp_path):
  with pytest.raises(AssertionError, match="--slices: expected without"):
    command("evaluate", tmp_path, "--workdir=a", "--against=b", "--slices")
