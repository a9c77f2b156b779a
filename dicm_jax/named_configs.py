"""The project's own configs by name, from any folder: --config=quickstart."""

from collections.abc import Sequence
import pathlib

from dicm_jax import errors

_FLAG = "--config"
_HERE = pathlib.Path(__file__).parent
# A wheel brings them in the package; a checkout has them beside it.
_FOLDERS = (_HERE / "configs", _HERE.parent / "configs")


def names() -> dict[str, pathlib.Path]:
  """File of each config, by name."""
  folder = next((f for f in _FOLDERS if f.is_dir()), None)
  paths = sorted(folder.glob("*.py")) if folder else []
  return {path.stem: path for path in paths}


def found(argv: Sequence[str]) -> list[str]:
  """The arguments with the file of a config in place of its name.

  A file of that name comes first; whatever ends in .py is left as it is.

  Raises:
    InputError: there is no such config.
  """
  out = list(argv)
  for i, word in enumerate(argv):
    flag, equals, value = word.partition("=")
    if flag in (_FLAG, _FLAG[1:]) and equals:
      out[i] = f"{flag}={_file(value)}"
    elif flag in (_FLAG, _FLAG[1:]) and i + 1 < len(argv):
      out[i + 1] = _file(argv[i + 1])
  return out


def _file(value: str) -> str:
  path = pathlib.Path(value.partition(":")[0])  # FILE.py:ARGUMENT
  if path.suffix == ".py" or path.exists() or not value:
    return value
  known = names()
  if value not in known:
    raise errors.unknown_name("config", value, known)
  return str(known[value])
