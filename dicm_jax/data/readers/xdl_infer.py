"""Proposes a schema for the XDL example's sample text, from its first lines."""

import collections
import dataclasses
import itertools
import logging
import math
import pathlib

from dicm_jax import errors
from dicm_jax.data import schema as schema_lib
from dicm_jax.data.readers import infer as infer_lib
from dicm_jax.data.readers import xdl

_log = logging.getLogger(__name__)

LINES = 1000
_TAIL = 1 << 20
"""Bytes at the end of a file that its last timestamp is looked for in."""


def infer(path: pathlib.Path) -> schema_lib.Schema:
  """Makes a schema of what most lines say, and logs it.

  Wrong lines are passed over: reading reports them.

  Raises:
    InputError: the file cannot be read, or none of its first lines is right.
  """
  lines: list[xdl.Parsed] = []
  wrong: list[str] = []
  for number, line in itertools.islice(xdl.parsed(path, dict), LINES):
    if isinstance(line, xdl.Wrong):
      wrong.append(f"line {number}: {line}")
    else:
      lines.append(line)
  if not lines:
    raise errors.InputError(
      f"{path}: expected samples, found none{'; ' if wrong else ''}"
      + "".join(wrong[:1])
    )
  times = [line.time for line in lines] + _last_time(path)
  try:
    return _proposed(lines, times)
  except errors.InputError as e:
    raise errors.InputError(f"{path}: {e}; write a schema") from e


def _proposed(lines: list[xdl.Parsed], times: list[int]) -> schema_lib.Schema:
  fields = _fields(lines)
  if not any(f.kind in schema_lib.ID_KINDS for f in fields):
    raise errors.InputError("found no feature of ids")
  return schema_lib.Schema(
    log=_labels(lines), feature=fields, split=_split(times)
  )


def _fields(lines: list[xdl.Parsed]) -> tuple[schema_lib.Field, ...]:
  """A field for each name, on the side where most lines have it."""
  seen: dict[str, dict[str, list[list[str]]]] = {}
  for line in lines:
    for side, features in (("user", line.user), ("ad", line.ad)):
      for name, values in features.items():
        of_name = seen.setdefault(name, collections.defaultdict(list))
        of_name[side].append(values)
  fields: list[schema_lib.Field] = []
  for name, sides in seen.items():
    side = max(sides, key=lambda s: len(sides[s]))
    ours = infer_lib.free_name(name, [f.name for f in fields])
    guess = _guess(ours, side, sides[side])
    field = dataclasses.replace(guess, column=name)
    _log.info(
      "%s: %s of the %s, in %d of %d lines",
      name,
      field.kind,
      side,
      len(sides[side]),
      len(lines),
    )
    fields.append(field)
  return tuple(fields)


def _guess(name: str, side: str, lists: list[list[str]]) -> schema_lib.Field:
  values = [value for entry in lists for value in entry]
  if "img" in name:
    return schema_lib.Field(
      name=name, side=side, kind="images" if side == "user" else "image"
    )
  if 10 * sum("." in v and ":" not in v for v in values) > len(values):
    width = _commonest([len(entry) for entry in lists])
    return schema_lib.Field(name=name, side=side, kind="dense", dimension=width)
  weighted = any(_weight(value) != 1 for value in values)
  return schema_lib.Field(name=name, side=side, kind="ids", weighted=weighted)


def _weight(value: str) -> float:
  """1 for what is no value at all."""
  try:
    return xdl.pair(value, "")[1]
  except xdl.Wrong:
    return 1.0


def _commonest(numbers: list[int]) -> int:
  return collections.Counter(numbers).most_common(1)[0][0]


def _labels(lines: list[xdl.Parsed]) -> schema_lib.Log:
  """The first label counts; all must be 0 or 1, or 0.5 parts them."""
  many = _commonest([len(line.labels) for line in lines])
  name = xdl.LABELS if many == 1 else f"{xdl.LABELS}.0"
  if many > 1:
    _log.info("%d labels a line: the first counts, as %r says", many, name)
  plain = sum(_is_plain(line.labels[0]) for line in lines)
  return schema_lib.Log(
    label=name,
    user="group key",
    time="timestamp",
    group="group key",
    positive_from=math.nan if 2 * plain > len(lines) else 0.5,
  )


def _is_plain(label: str) -> bool:
  try:
    return xdl.number(label, "") in (0.0, 1.0)
  except xdl.Wrong:
    return False


def _last_time(path: pathlib.Path) -> list[int]:
  """Timestamp of the file's last right line; empty if none is near its end."""
  with path.open("rb") as file:
    file.seek(max(path.stat().st_size - _TAIL, 0))
    last = file.read().split(b"\n")
  for line in reversed(last):
    parts = line.decode("utf-8", "replace").split("|")
    if len(parts) == xdl.PARTS:
      try:
        return [xdl.seconds(parts[-1].rstrip())]
      except xdl.Wrong:
        continue
  return []


def _split(times: list[int]) -> schema_lib.Split:
  first, last = min(times), max(times)
  if first == last:
    return schema_lib.Split(rule="user", test_share=0.1)
  moment = first + (last - first) * 9 // 10 + 1
  return schema_lib.Split(rule="time", test_from=schema_lib.iso(moment * 1000))
