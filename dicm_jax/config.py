"""Reading a run's config, and saying clearly what is wrong with it."""

from collections.abc import Mapping
import hashlib
import json
import logging
import sys
from typing import Any

from absl import flags
import absl.logging
import jax
from ml_collections import config_dict

from dicm_jax import errors

FREE_TO_CHANGE = ("mesh", "train.steps", "train.log_every_steps", "checkpoint")
"""Keys that a run may change when it is restarted in its workdir."""


def start(cpu_devices: int) -> None:
  """Sets up logs and devices; must run before JAX makes any.

  Args:
    cpu_devices: number of simulated CPU devices; 0 takes the real devices.
  """
  absl.logging.set_verbosity(absl.logging.WARNING)  # Orbax tells a lot.
  handler = logging.StreamHandler()
  handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
  ours = logging.getLogger("dicm_jax")
  ours.handlers, ours.propagate = [handler], False
  ours.setLevel(logging.INFO)
  if cpu_devices < 0:
    fail(
      errors.InputError(f"--cpu_devices: expected >= 0, found {cpu_devices}")
    )
  if cpu_devices:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", cpu_devices)


def parse_flags(argv: list[str]) -> list[str]:
  """Parses the command line for `absl.app.run`; exits with 2 on a mistake."""
  try:
    rest = flags.FLAGS(argv)
    if len(rest) > 1:
      raise errors.InputError(f"unexpected argument {rest[1]!r}")
    return rest
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as e:
    fail(errors.InputError(_explain(e)))
  except FileNotFoundError as e:
    fail(errors.InputError(f"--config: no such file: {e.filename}"))
  raise AssertionError("unreachable")


def fail(error: errors.InputError) -> None:
  """Prints what the user has to change and exits with code 2."""
  print(f"dicm_jax: {error}", file=sys.stderr)
  sys.exit(2)


def _explain(error: Exception) -> str:
  """One line for whatever absl and ml_collections raise on bad flags."""
  text = " ".join(str(a) for a in error.args).replace("\n", " ").strip()
  if isinstance(error, AttributeError):
    return f"unknown config key: {text}"
  return text


def flatten(config: config_dict.ConfigDict) -> dict[str, Any]:
  """All keys with dots, e.g. {'train.steps': 1000}, in order."""

  def walk(prefix: str, tree: Mapping[str, Any]):
    for key, value in tree.items():
      if isinstance(value, Mapping):
        yield from walk(f"{prefix}{key}.", value)
      else:
        yield prefix + key, value

  return dict(sorted(walk("", config.to_dict())))


def to_json(config: config_dict.ConfigDict) -> str:
  return json.dumps(config.to_dict(), indent=2, sort_keys=True) + "\n"


def from_json(text: str) -> config_dict.ConfigDict:
  return config_dict.ConfigDict(json.loads(text)).lock()


def _fixed(config: config_dict.ConfigDict) -> dict[str, Any]:
  """The keys that decide what a run learns from each step."""
  return {
    key: list(value) if isinstance(value, tuple) else value
    for key, value in flatten(config).items()
    if not any(
      key == free or key.startswith(free + ".") for free in FREE_TO_CHANGE
    )
  }


def digest(config: config_dict.ConfigDict) -> str:
  """Hexadecimal SHA-256 of what decides a run's result, mesh left out."""
  text = json.dumps(
    _fixed(config) | {"train.steps": config.train.steps}, sort_keys=True
  )
  return hashlib.sha256(text.encode()).hexdigest()


def differences(
  ours: config_dict.ConfigDict, theirs: config_dict.ConfigDict
) -> list[str]:
  """Lines 'key: theirs -> ours' of keys that a restart must not change."""
  new, old = _fixed(ours), _fixed(theirs)
  missing = "(absent)"
  return [
    f"{key}: {old.get(key, missing)!r} -> {new.get(key, missing)!r}"
    for key in sorted(new.keys() | old.keys())
    if new.get(key, missing) != old.get(key, missing)
  ]
