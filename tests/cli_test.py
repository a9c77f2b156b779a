"""The command `dicm` runs the package's commands by short names."""

import pathlib
import subprocess
import sys

import pytest

from dicm_jax import cli, completion, errors
from dicm_jax.commands import COMMANDS

ROOT = pathlib.Path(__file__).parents[1]
DICM = pathlib.Path(sys.executable).with_name("dicm")


def run(*args):
  return subprocess.run(
    [DICM, *args], capture_output=True, text=True, check=False, timeout=120
  )


def printed(capsys, monkeypatch, *args):
  monkeypatch.setattr(sys, "argv", ["dicm", *args])
  cli.main()
  return capsys.readouterr().out


def test_every_command_of_the_package_has_a_short_name():
  folder = ROOT / "dicm_jax"
  found = {
    f"dicm_jax.{path.stem}"
    for path in folder.glob("*.py")
    if '__name__ == "__main__"' in path.read_text()
  }
  assert found == {it.module for it in COMMANDS.values()}


@pytest.mark.parametrize("args", [(), ("--help",), ("help",)])
def test_help_names_all_commands(args, capsys, monkeypatch):
  lines = printed(capsys, monkeypatch, *args).splitlines()
  assert lines[0] == "usage: dicm COMMAND [--flag=value ...]"
  for name, it in COMMANDS.items():
    assert any(
      line.split(maxsplit=1) == [name, it.does] for line in lines if line
    )


def test_unknown_command_is_refused_with_the_nearest(capsys, monkeypatch):
  with pytest.raises(SystemExit) as caught:
    printed(capsys, monkeypatch, "trian")
  assert caught.value.code == 2
  told = capsys.readouterr().err
  assert told.startswith("dicm_jax: unknown command 'trian'")
  assert "did you mean 'train'?" in told


def test_help_of_a_command_tells_its_flags_and_those_of_devices():
  done = run("prepare", "--help")
  assert done.returncode == 0
  assert "--samples:" in done.stdout
  assert "--cpu_devices:" in done.stdout


def test_mistake_in_a_flag_is_refused_with_the_nearest():
  done = run("plan", "--devics=3")
  assert done.returncode == 2
  assert "Did you mean: devices" in done.stderr
  assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("shell", completion.SHELLS)
def test_completion_of_commands_and_flags(shell, tmp_path):
  path = tmp_path / "dicm.sh"
  text = completion.script(shell)
  path.write_text(text.replace(completion._ZSH, ""))

  def completed(*words):
    asked = (
      f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _dicm"
    )
    return subprocess.run(
      ["bash", "-c", f'source {path}; {asked}; echo "${{COMPREPLY[@]}}"'],
      capture_output=True,
      text=True,
      check=True,
    ).stdout.split()

  assert completed("dicm", "ev") == ["evaluate"]
  assert completed("dicm", "evaluate", "--wor") == ["--workdir="]
  assert completed("dicm", "evaluate", "--sl") == ["--slices"]
  assert completed("dicm", "evaluate", "runs/") == []


def test_other_shells_are_refused():
  with pytest.raises(errors.InputError, match="unknown shell 'fish'"):
    completion.script("fish")
