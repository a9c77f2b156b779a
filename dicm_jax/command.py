"""What the commands share: flags, logs, devices, and how they say no."""

import logging
import sys
from typing import NoReturn

from absl import flags
import absl.logging
import jax

from dicm_jax import errors


def parse_flags(argv: list[str]) -> list[str]:
  """Parses the command line for `absl.app.run`; exits with 2 on a mistake."""
  try:
    rest = flags.FLAGS(argv)
  except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as e:
    fail(errors.InputError(_explain(e)))
  if len(rest) > 1:
    fail(errors.InputError(f"unexpected argument {rest[1]!r}"))
  return rest


def _explain(error: Exception) -> str:
  """One line for whatever absl and ml_collections raise on bad flags."""
  text = " ".join(str(a) for a in error.args).replace("\n", " ").strip()
  if isinstance(error, AttributeError):
    return f"unknown config key: {text}"
  return text


def fail(error: errors.InputError) -> NoReturn:
  """Prints what the user has to change and exits with code 2."""
  print(f"dicm_jax: {error}", file=sys.stderr)
  sys.exit(2)


def start(cpu_devices: int) -> None:
  """Sets up logs and devices; must run before JAX makes any.

  Args:
    cpu_devices: number of simulated CPU devices; 0 takes the real devices.

  Raises:
    InputError: the number is negative.
  """
  absl.logging.set_verbosity(absl.logging.WARNING)  # Orbax tells a lot.
  handler = logging.StreamHandler()
  handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
  ours = logging.getLogger("dicm_jax")
  ours.handlers, ours.propagate = [handler], False
  ours.setLevel(logging.INFO)
  if cpu_devices < 0:
    raise errors.InputError(
      f"--cpu_devices: expected >= 0, found {cpu_devices}"
    )
  if cpu_devices:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", cpu_devices)
