"""A run's folder: its config, metrics, evaluation and checkpoints."""

import json
import logging
import os
import pathlib

from dicm_jax import any_config, config_tree, errors
from dicm_jax.any_config import AnyConfig

_log = logging.getLogger(__name__)

CONFIG, METRICS = "config.json", "metrics.jsonl"
EVAL, SLICES = "eval.json", "slices.json"
PROFILE, TRACES = "profile.json", "profile"
LOCK = "run.lock"

_PART = ".part"
_CUT = (CONFIG + _PART, LOCK)
"""What a kill during the first claim leaves: no reason to refuse a folder."""


def check(path: pathlib.Path, config: AnyConfig) -> None:
  """Looks whether a folder may become this run's; changes nothing.

  Raises:
    InputError: the folder belongs to a run of another config, or holds other
      files, or is none.
  """
  try:
    if path.exists() and not path.is_dir():
      raise errors.InputError(f"--workdir: {path} is a file, not a folder")
    if (path / CONFIG).exists():
      _check_same_run(path, config)
    elif path.exists() and any(p.name not in _CUT for p in path.iterdir()):
      raise errors.InputError(
        f"--workdir: {path} holds files but no {CONFIG}, so it is no run's "
        "folder; name an empty or a new one"
      )
  except OSError as e:
    raise errors.InputError(f"--workdir: {path}: {e.strerror}") from e


def claim(path: pathlib.Path, config: AnyConfig) -> None:
  """Makes a folder this run's own, or goes on with the same run in it.

  Logs what the config has otherwise than at the last start.

  Raises:
    InputError: as `check`, or the folder cannot be made or written.
  """
  check(path, config)
  try:
    path.mkdir(parents=True, exist_ok=True)
    if (path / CONFIG).exists():
      for line in config_tree.all_differences(config, read_config(path)):
        _log.info("changed since the last start: %s", line)
    write_text(path / CONFIG, config_tree.to_json(config))
  except OSError as e:
    raise errors.InputError(f"--workdir: {path}: {e.strerror}") from e
  except errors.WriteError as e:
    raise errors.InputError(f"--workdir: {e}") from e


def _check_same_run(path, config):
  changed = config_tree.differences(config, read_config(path))
  if changed:
    lines = "\n  ".join(changed)
    raise errors.InputError(
      f"--workdir: {path} belongs to a run of another config; name another "
      f"folder, or keep these keys as they were (there -> now):\n  {lines}"
    )


def read_config(path: pathlib.Path) -> AnyConfig:
  """The config of the run in a folder.

  Raises:
    InputError: there is none, or it is damaged.
  """
  file = path / CONFIG
  try:
    return any_config.from_dict(json.loads(file.read_text(encoding="utf-8")))
  except FileNotFoundError as e:
    raise errors.InputError(
      f"--workdir: {path} holds no {CONFIG}: expected the folder of a run"
    ) from e
  except json.JSONDecodeError as e:
    raise errors.InputError(f"{file}, line {e.lineno}: {e.msg}") from e
  except OSError as e:
    raise errors.InputError(f"{file}: {e.strerror or e}") from e
  # No UTF-8, thousands of digits, a thousand brackets; or no config.
  except (ValueError, RecursionError) as e:
    raise errors.InputError(f"{file}: {e}") from e


def write_text(file: pathlib.Path, text: str) -> None:
  """Writes all of a file or nothing.

  What stands under its name, or under that of the part, is replaced: a link
  there, in a folder from somebody else, leads nowhere.

  Raises:
    WriteError: nothing was written.
  """
  part = file.with_name(file.name + _PART)
  with errors.writing(file):
    part.unlink(missing_ok=True)
    part.write_text(text)
    os.replace(part, file)


def write_json(file: pathlib.Path, value) -> None:
  """As `write_text`."""
  text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False)
  write_text(file, text + "\n")


def keep_metrics_until(path: pathlib.Path, step: int) -> None:
  """Drops the lines of steps that a restarted run will make again."""
  file = path / METRICS
  # Bytes that are no text are of a damaged line; others stay.
  text = file.read_text(errors="replace") if file.exists() else ""
  lines = text.splitlines()
  kept = [line for line in lines if _step_of(line) <= step]
  write_text(file, "".join(line + "\n" for line in kept))


def _step_of(line: str) -> float:
  try:
    return float(json.loads(line)["step"])
  except (json.JSONDecodeError, KeyError, TypeError):  # Cut short by a kill.
    return float("inf")


def append_metrics(path: pathlib.Path, record: dict) -> None:
  """Adds a line.

  Raises:
    InputError: the file is a link.
    WriteError: it was not written, or in part, which a restart drops.
  """
  file = path / METRICS
  if file.is_symlink():  # Not of our making: `keep_metrics_until` leaves none.
    raise errors.InputError(f"{file}: expected a file, found a link")
  with errors.writing(file), file.open("a") as out:
    out.write(json.dumps(record) + "\n")
