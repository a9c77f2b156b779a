"""Configs as trees of values: made, checked, flattened, compared."""

from collections.abc import Iterator, Mapping
import dataclasses
import hashlib
import json
import math
from typing import Any, TypeVar

from dicm_jax import errors

FREE_TO_CHANGE = (
  "mesh.",
  "image.tier",
  "train.ahead",
  "train.exchange",
  "sparse_optimizer.tier",
  "train.steps",
  "train.log_every_steps",
  "checkpoint.",
)
"""Beginnings of keys that a restarted run may change in its workdir."""
MAX_SEED = 2**32 - 1  # JAX's keys and NumPy's generators both take it.
MAX_INT = 2**31 - 1  # Steps and row numbers are 32-bit on the device.

_PATHS = ("data.path", "weights", "warm_up.workdir")
"""Ends of keys whose values are paths."""
_TUPLES = {tuple[int, ...]: int, tuple[str, ...]: str}

Kind = TypeVar("Kind")


def check_numbers(config: Any, at_least_one: tuple[str, ...]) -> None:
  """Refuses whole numbers out of range, and what is no number or infinite.

  Args:
    config: a config of any task.
    at_least_one: beginnings of keys whose values are 1 or more.

  Raises:
    InputError: one is.
  """
  for key, value in flatten(config).items():
    if isinstance(value, float) and not math.isfinite(value):
      raise errors.InputError(f"{key}: expected a finite number, found {value}")
    if not isinstance(value, int) or isinstance(value, bool):
      continue
    if key.startswith(at_least_one) and value < 1:
      raise errors.InputError(f"{key}: expected >= 1, found {value}")
    most = MAX_SEED if key == "seed" else MAX_INT
    if value > most:
      raise errors.InputError(f"{key}: expected <= {most}, found {value}")
  if config.seed < 0:
    raise errors.InputError(f"seed: expected >= 0, found {config.seed}")


def build(kind: type[Kind], values: Any) -> Kind:
  """Makes a config of nested mappings, such as `ConfigDict.to_dict()`.

  Args:
    kind: the config's dataclass.
    values: of all its fields.

  Raises:
    InputError: a key is missing or unknown, or a value is of another type or
      out of range.
  """
  return _build(kind, values, "")


def _build(kind, values: Any, prefix: str):
  """Builds the dataclass `kind`; `prefix` is the dotted path to it."""
  if not isinstance(values, Mapping):
    what = prefix.rstrip(".") or "config"
    raise errors.InputError(f"{what}: expected a section, found {values!r}")
  fields = {field.name: field for field in dataclasses.fields(kind)}
  for key in values:
    if key not in fields:
      raise errors.unknown_name(
        "config key", prefix + key, _dotted(kind, prefix)
      )
  made = {}
  for name, field in fields.items():
    if name not in values:
      raise errors.InputError(f"config key {prefix}{name} is missing")
    if dataclasses.is_dataclass(field.type):
      made[name] = _build(field.type, values[name], f"{prefix}{name}.")
    else:
      made[name] = _typed(field.type, values[name], prefix + name)
  try:
    return kind(**made)
  except errors.InputError as e:
    if prefix in str(e):
      raise
    # Of two sections of one kind neither knows its own name.
    raise errors.InputError(f"{prefix.rstrip('.')}: {e}") from e


def _typed(kind, value: Any, key: str):
  """The value of a plain field, once it is known to be of the field's type."""
  if kind is float and type(value) is int and abs(value) <= 2**63:
    return float(value)
  if kind in _TUPLES:
    # JSON knows no tuples, and dataclasses are to be hashable.
    value = tuple(value) if isinstance(value, list) else value
    of = _TUPLES[kind]
    fits = type(value) is tuple and all(type(part) is of for part in value)
    expected = f"a tuple of {of.__name__}"
  else:
    fits, expected = type(value) is kind, kind.__name__  # A bool is no int.
  if not fits:
    raise errors.InputError(f"{key}: expected {expected}, found {value!r}")
  return value


def _dotted(kind, prefix: str = "") -> list[str]:
  """All dotted keys below the dataclass `kind`."""
  keys = []
  for field in dataclasses.fields(kind):
    if isinstance(field.type, type) and dataclasses.is_dataclass(field.type):
      keys += _dotted(field.type, f"{prefix}{field.name}.")
    else:
      keys.append(prefix + field.name)
  return keys


def flatten(config: Any) -> dict[str, Any]:
  """All values by dotted key, e.g. {'train.steps': 1000}."""
  return dict(by_dotted_key(dataclasses.asdict(config)))


def by_dotted_key(
  tree: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
  """Values of nested mappings."""
  for key, value in tree.items():
    if isinstance(value, Mapping):
      yield from by_dotted_key(value, f"{prefix}{key}.")
    else:
      yield prefix + key, value


def to_json(config: Any) -> str:
  return json.dumps(dataclasses.asdict(config), indent=2, sort_keys=True) + "\n"


def _fixed(config: Any) -> dict[str, Any]:
  """The values that decide what each step of a run learns."""
  return {
    key: value
    for key, value in flatten(config).items()
    if not key.startswith(FREE_TO_CHANGE)
  }


def digest(config: Any) -> str:
  """Hexadecimal SHA-256 of what decides a run's result, the mesh left out."""
  decisive = _fixed(config) | {"train.steps": config.train.steps}
  text = json.dumps(decisive, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def differences(now: Any, before: Any) -> list[str]:
  """Lines 'key: before -> now' of keys that a restart must not change."""
  return changed(_fixed(now), _fixed(before))


def all_differences(now: Any, before: Any) -> list[str]:
  """Lines 'key: before -> now' of all keys that differ."""
  return changed(flatten(now), flatten(before))


def kept(config: Any) -> dict[str, Any]:
  """Those keys and their values as JSON has them, to lie with a checkpoint.

  Without paths: what lies there is known by digests, and may be moved.
  """
  found = {k: v for k, v in _fixed(config).items() if not k.endswith(_PATHS)}
  return json.loads(json.dumps(found))


def changed(new: Mapping[str, Any], old: Mapping[str, Any]) -> list[str]:
  """Lines 'key: old -> new' of what differs."""
  return [
    f"{key}: {old.get(key)!r} -> {new.get(key)!r}"
    for key in sorted(new.keys() | old.keys())
    if new.get(key) != old.get(key)
  ]
