"""Schemas as TOML files and as plain values.

  [log]
  label = "clicked"
  user = "user_id"
  time = "shown_at"
  [split]
  rule = "time"
  test_days = 1
  [[feature]]
  name = "item"
  side = "ad"
  kind = "id"

docs/data.md has all sections and keys.
"""

from collections.abc import Mapping
import dataclasses
import datetime
import math
import pathlib
import tomllib
from typing import Any

from dicm_jax import errors
from dicm_jax.data import schema as schema_lib

LONGEST_LINE = 10_000
"""Letters of a line, at most."""


def load(path: pathlib.Path) -> schema_lib.Schema:
  """Reads a schema file.

  Raises:
    InputError: the file is missing or no TOML, or a key or value is wrong;
      the message names file, section or feature, what was expected and found.
  """
  try:
    text = path.read_text(encoding="utf-8")
    # A key of n dots takes the parser time by the square of n.
    if max(map(len, text.split("\n"))) > LONGEST_LINE:
      raise ValueError(f"a line of more than {LONGEST_LINE:,} letters")
    values = tomllib.loads(text)
  except OSError as e:
    raise errors.InputError(f"{path}: {e.strerror}") from e
  # No TOML, no UTF-8, a number of thousands of digits; a thousand brackets.
  except (ValueError, RecursionError) as e:
    raise errors.InputError(f"{path}: not a TOML file: {e}") from e
  try:
    return from_dict(values)
  except errors.InputError as e:
    raise errors.InputError(f"{path}: {e}") from e


def from_dict(values: Mapping[str, Any]) -> schema_lib.Schema:
  """Makes a schema of nested plain values, as TOML and JSON hold them.

  Raises:
    InputError: as `load`.
  """
  sections = {f.name: f for f in dataclasses.fields(schema_lib.Schema)}
  for name in values:
    if name not in sections:
      raise errors.unknown_name("section", name, sections)
  for name in ("log", "split", "feature"):
    if name not in values:
      raise errors.InputError(f"section [{name}] is missing")
  kinds = {
    "log": schema_lib.Log,
    "split": schema_lib.Split,
    "history": schema_lib.History,
    "negatives": schema_lib.Negatives,
    "items": schema_lib.Items,
  }
  made: dict[str, Any] = {
    name: _section(kind, values[name], f"[{name}]")
    for name, kind in kinds.items()
    if values.get(name) is not None
  }
  if not isinstance(values["feature"], (list, tuple)):
    raise errors.InputError("expected [[feature]] sections, in double brackets")
  made["feature"] = tuple(
    _section(schema_lib.Field, entry, f"[[feature]] {i}")
    for i, entry in enumerate(values["feature"], start=1)
  )
  return schema_lib.Schema(**made)


def to_dict(schema: schema_lib.Schema) -> dict[str, Any]:
  """The inverse of `from_dict`, defaults left out."""

  def plain(entry) -> dict[str, Any]:
    return {
      f.name: list(value) if isinstance(value, tuple) else value
      for f in dataclasses.fields(entry)
      if (value := getattr(entry, f.name)) != f.default
      and not (isinstance(value, float) and math.isnan(value))
      and not (f.name == "column" and value == getattr(entry, "name", None))
    }

  out: dict[str, Any] = {"log": plain(schema.log), "split": plain(schema.split)}
  for name in ("history", "negatives", "items"):
    entry = getattr(schema, name)
    if entry is not None and plain(entry):
      out[name] = plain(entry)
  return out | {"feature": [plain(f) for f in schema.feature]}


def to_toml(schema: schema_lib.Schema) -> str:
  """The text of a schema file that `load` reads back."""

  def lines(entry: Mapping[str, Any]):
    return [f"{key} = {_toml(value)}" for key, value in entry.items()]

  values = to_dict(schema)
  features = values.pop("feature")
  parts = [[f"[{name}]", *lines(entry)] for name, entry in values.items()]
  parts += [["[[feature]]", *lines(entry)] for entry in features]
  return "\n\n".join("\n".join(part) for part in parts) + "\n"


def _toml(value: Any) -> str:
  if isinstance(value, bool):
    return str(value).lower()
  if isinstance(value, str):
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\t", "\\t").replace("\n", "\\n") + '"'
  if isinstance(value, list):
    return "[" + ", ".join(map(_toml, value)) + "]"
  return repr(value)


def _section(kind, values: Any, where: str):
  """Builds one dataclass of plain fields, checking names and types."""
  if not isinstance(values, Mapping):
    raise errors.InputError(f"{where}: expected a section, found {values!r}")
  if isinstance(values.get("name"), str):
    where = f"feature {values['name']!r}"
  fields = {f.name: f for f in dataclasses.fields(kind)}
  for key in values:
    if key not in fields:
      raise errors.unknown_name(f"key in {where}", key, fields)
  for name, field in fields.items():
    if field.default is dataclasses.MISSING and name not in values:
      raise errors.InputError(f"{where}: key {name!r} is missing")
  made = {
    k: _typed(fields[k].type, v, f"{where} {k}") for k, v in values.items()
  }
  return kind(**made)


def _typed(kind, value: Any, where: str):
  if kind is float and type(value) is int and abs(value) <= 2**63:
    return float(value)
  if kind is str and isinstance(value, (datetime.date, datetime.datetime)):
    return value.isoformat()  # TOML has dates of its own.
  if kind == tuple[str, ...] and isinstance(value, (list, tuple)):
    if all(isinstance(part, str) for part in value):
      return tuple(value)
    raise errors.InputError(f"{where}: expected strings, found {value!r}")
  if type(value) is not kind:
    name = getattr(kind, "__name__", "list of str")
    raise errors.InputError(f"{where}: expected {name}, found {value!r}")
  return value
