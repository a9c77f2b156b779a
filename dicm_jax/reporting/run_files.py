"""What a run has written into its folder, read back as plain values."""

from collections.abc import Sequence
import json
import pathlib
from typing import Any, NamedTuple

from dicm_jax import config_tree, errors, workdir


class Run(NamedTuple):
  """The files of a run."""

  name: str
  """To tell it from the others."""
  config: dict[str, Any]
  """By dotted key."""
  curve: list[dict[str, Any]]
  """Lines of metrics.jsonl: step, loss, examples_per_s."""
  figures: dict[str, Any]
  """eval.json; empty while the run is not at its end."""
  slices: dict[str, list[dict[str, Any]]]
  """slices.json, by cut; empty likewise, and of pairwise runs."""
  profile: dict[str, Any]
  """profile.json; empty where none was asked for."""


def read(folder: pathlib.Path, name: str) -> Run:
  """
  Raises:
    InputError: it is no run's folder, or a file of it is damaged.
  """
  if not (folder / workdir.CONFIG).is_file():
    raise errors.InputError(
      f"{folder}: expected the folder of a run, found no {workdir.CONFIG} in it"
    )
  return Run(
    name=name,
    config=dict(config_tree.by_dotted_key(_json(folder / workdir.CONFIG))),
    curve=_lines(folder / workdir.METRICS),
    figures=_json(folder / workdir.EVAL),
    slices=_json(folder / workdir.SLICES),
    profile=_json(folder / workdir.PROFILE),
  )


def names(folders: Sequence[pathlib.Path]) -> list[str]:
  """The folders' last parts, or all of it where two are alike.

  >>> names([pathlib.Path("runs/a"), pathlib.Path("runs/b")])
  ['a', 'b']
  """
  short = [folder.resolve().name for folder in folders]
  alike = len(set(short)) < len(short)
  return [str(folder) for folder in folders] if alike else short


def _json(path: pathlib.Path) -> dict[str, Any]:
  """The file's object; none where there is no file."""
  try:
    found = json.loads(path.read_text())
  except FileNotFoundError:
    return {}
  except (OSError, ValueError) as e:
    raise errors.InputError(f"{path}: cannot be read: {e}") from e
  if not isinstance(found, dict):
    raise errors.InputError(f"{path}: expected an object, found {found!r:.80}")
  return found


def _lines(path: pathlib.Path) -> list[dict[str, Any]]:
  try:
    lines = path.read_text().splitlines()
  except FileNotFoundError:
    return []
  except (OSError, ValueError) as e:
    raise errors.InputError(f"{path}: cannot be read: {e}") from e
  found = []
  for number, line in enumerate(lines, 1):
    try:
      one = json.loads(line)
      found.append(one | {key: float(one[key]) for key in ("step", "loss")})
    except (ValueError, KeyError, TypeError) as e:
      # A kill may have cut the last line short; the run writes it anew.
      if number == len(lines):
        break
      raise errors.InputError(
        f"{path}, line {number}: expected step and loss, found {line!r:.80}"
      ) from e
  return found
