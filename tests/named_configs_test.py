"""Configs by name, in a checkout and from a wheel."""

import os
import pathlib
import subprocess
import sys

import pytest

from dicm_jax import errors, named_configs

ROOT = pathlib.Path(__file__).parents[1]


@pytest.mark.parametrize(
  "args", [["--config=dicm"], ["-config=dicm"], ["--config", "dicm"]]
)
def test_name_becomes_the_file(args):
  flag, _, _ = args[0].partition("=")
  found = named_configs.found(["program", *args, "--workdir=dicm"])
  path = str(ROOT / "configs" / "dicm.py")
  expected = [f"{flag}={path}"] if len(args) == 1 else [flag, path]
  assert found == ["program", *expected, "--workdir=dicm"]


@pytest.mark.parametrize(
  "word", ["--config=configs/no.py", "--config=", "--config.seed=3", "config"]
)
def test_all_else_is_left_as_it_is(word):
  assert named_configs.found(["program", word]) == ["program", word]


def test_a_file_of_that_name_comes_first(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "dicm").touch()
  assert named_configs.found(["--config=dicm"]) == ["--config=dicm"]


def test_unknown_name_is_refused_with_the_nearest():
  with pytest.raises(errors.InputError, match="did you mean 'quickstart'"):
    named_configs.found(["--config=quikstart"])


@pytest.mark.slow
def test_wheel_trains_the_sample_from_any_folder(tmp_path):
  pip = [sys.executable, "-m", "pip", "--quiet"]
  target, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
  elsewhere.mkdir()
  wheel = [*pip, "wheel", "--no-deps", f"--wheel-dir={tmp_path}", str(ROOT)]
  subprocess.run(wheel, check=True)
  (made,) = tmp_path.glob("dicm_jax-*.whl")
  install = [*pip, "install", "--no-deps", f"--target={target}", str(made)]
  subprocess.run(install, check=True)
  done = subprocess.run(
    [
      target / "bin" / "dicm",
      "train",
      "--config=quickstart",
      "--workdir=run",
      "--config.train.steps=2",
    ],
    cwd=elsewhere,
    env=os.environ | {"PYTHONPATH": str(target)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  assert (elsewhere / "run" / "eval.json").is_file()
  assert (target / "dicm_jax" / "py.typed").is_file()
