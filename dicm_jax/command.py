"""What the commands share: flags, logs, devices, and how they say no."""

import json
import logging
import re
import sys
from typing import Any, NoReturn

from absl import flags
import absl.logging
import jax

from dicm_jax import errors

# All but the first are raised by ml_collections, and OSError for the file.
_BAD_FLAGS = (
  flags.Error,
  AttributeError,
  KeyError,
  OSError,
  TypeError,
  ValueError,
)


def parse_flags(argv: list[str]) -> list[str]:
  """Parses the command line for `absl.app.run`; exits with 2 on a mistake."""
  try:
    rest = flags.FLAGS(argv)
  except _BAD_FLAGS as e:
    fail(errors.InputError(_explain(e)))
  if len(rest) > 1:
    fail(errors.InputError(f"unexpected argument {rest[1]!r}"))
  return rest


def config_values(config: flags.FlagHolder) -> dict[str, Any]:
  """What a flag of `DEFINE_config_file` holds, as nested dicts.

  Raises:
    InputError: the file cannot be read.
  """
  try:
    return config.value.to_dict()
  except OSError as e:  # Kept back until the values are asked for.
    raise errors.InputError(_explain(e)) from e


def _explain(error: Exception) -> str:
  """One line for whatever absl and ml_collections raise on bad flags."""
  text = " ".join(" ".join(str(a) for a in error.args).split())
  if isinstance(error, OSError):
    return f"--config: {text[max(text.rfind('[Errno'), 0) :]}"
  if isinstance(error, (AttributeError, KeyError)):
    return _explain_key(text)
  return text


def _explain_key(text: str) -> str:
  # A quoted name, at times with a hint, quoted again: '\'stpes\'\nDid ...
  name = re.match(r"""['"\\]*(\w+)['"\\]*(\\n|\s*Did|$)""", text)
  if not name:
    return f"--config: {text}"
  near = re.search(r'Did you mean "(\w+)"', text)
  hint = f"; did you mean {near[1]!r}?" if near else ""
  return f"unknown config key {name[1]!r}{hint}"


def fail(error: errors.InputError) -> NoReturn:
  """Prints what the user has to change and exits with code 2."""
  print(f"dicm_jax: {error}", file=sys.stderr)
  sys.exit(2)


def define_devices() -> None:
  """Defines the flags that say what a command runs on."""
  number = flags.DEFINE_integer
  number("cpu_devices", 0, "Simulated CPU devices; 0: the real devices.")
  flags.DEFINE_string(
    "coordinator",
    "",
    "HOST:PORT of process 0 where several processes run together; auto: ask "
    "the cluster (Slurm, TPU pod, Kubernetes, Open MPI).",
  )
  number("num_processes", 1, "How many processes run together.")
  number("process_id", 0, "Which of them this is, counted from 0.")


def start(values: flags.FlagValues) -> None:
  """Sets up logs, processes and devices; must run before JAX makes any.

  Args:
    values: with the flags of `define_devices`.

  Raises:
    InputError: a flag is out of range, or the processes do not meet.
  """
  _start_logs()
  if values.cpu_devices < 0:
    raise errors.InputError(
      f"--cpu_devices: expected >= 0, found {values.cpu_devices}"
    )
  if values.cpu_devices:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", values.cpu_devices)
  _join(values.coordinator, values.num_processes, values.process_id)


def _join(coordinator: str, count: int, me: int) -> None:
  """Meets the other processes, if there are any."""
  if not coordinator:
    if count != 1 or me != 0:
      raise errors.InputError(
        "--num_processes, --process_id: expected --coordinator=HOST:PORT too"
      )
    return
  if coordinator != "auto" and not 0 <= me < count:
    raise errors.InputError(
      f"--process_id: expected 0 to {count - 1} of --num_processes={count}, "
      f"found {me}"
    )
  try:
    if coordinator == "auto":
      jax.distributed.initialize()
    else:
      jax.distributed.initialize(coordinator, count, me)
  except (RuntimeError, ValueError) as e:
    raise errors.InputError(f"--coordinator={coordinator}: {e}") from e


def show(result: dict[str, Any]) -> None:
  """Prints a command's result, on one of several processes."""
  if jax.process_index() == 0:
    print(json.dumps(result, indent=2, sort_keys=True))


def _start_logs() -> None:
  absl.logging.set_verbosity(absl.logging.WARNING)  # Orbax tells a lot.
  handler = logging.StreamHandler()
  handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
  ours = logging.getLogger("dicm_jax")
  ours.handlers, ours.propagate = [handler], False
  ours.setLevel(logging.INFO)
