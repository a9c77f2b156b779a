"""Writes the XDL example's sample text; `xdl` reads it."""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib

from dicm_jax import errors

Value = str | tuple[str, float] | float


@dataclasses.dataclass(frozen=True)
class Line:
  """One sample, as the file has it."""

  skey: str
  group: str
  user: Mapping[str, Sequence[Value]]
  """Values by feature: an id, (id, weight), or a number."""
  ad: Mapping[str, Sequence[Value]]
  labels: Sequence[float]
  time: int
  """Seconds since 1970."""


def write(path: pathlib.Path, lines: Sequence[Line]) -> None:
  """Writes samples; `xdl.read` gives them back.

  Raises:
    InputError: a key, name or id holds one of the format's own marks.
  """
  with path.open("w", encoding="utf-8") as file:
    for line in lines:
      parts = [
        _checked(line.skey),
        _checked(line.group),
        _join(line.user),
        _join(line.ad),
        ",".join(repr(float(label)) for label in line.labels),
        str(line.time),
      ]
      file.write("|".join(parts) + "\n")


def _join(features: Mapping[str, Sequence[Value]]) -> str:
  return ";".join(
    f"{_checked(name)}@" + ",".join(map(_written, values))
    for name, values in features.items()
  )


def _written(value: Value) -> str:
  if isinstance(value, tuple):
    return f"{_checked(str(value[0]))}:{value[1]!r}"
  return _checked(value) if isinstance(value, str) else repr(value)


def _checked(text: str) -> str:
  if not text or any(mark in text for mark in "|;@,:\r\n"):
    raise errors.InputError(
      f"expected a name or id without any of | ; @ , : found {text!r}"
    )
  return text
