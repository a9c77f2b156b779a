"""What the commands share: flags, logs, devices, and how they say no."""

from collections.abc import Sequence
import faulthandler
import functools
import json
import logging
import pathlib
import re
import sys
import traceback
from typing import Any, NoReturn

from absl import flags
import absl.logging
import jax

from dicm_jax import errors, named_configs, plugins

_LATE = ("Event loop is closed", "error while reading array index")
_CONFIG_MODULE = "config_config"
"""Name under which ml_collections runs the file of the flag --config."""

_HEARTBEAT_S = 30
"""After so long a process that is not heard of counts as lost."""


def parse_flags(argv: list[str]) -> list[str]:
  """Parses the command line for `absl.app.run`; exits with 2 on a mistake."""
  _tell_all_in_help(argv[0])
  try:
    rest = flags.FLAGS(named_configs.found(argv))
  except errors.InputError as e:
    fail(e)
  # Absl and ml_collections raise many kinds, and a config file is a program.
  except Exception as e:
    fail(errors.InputError(_explain(e, argv)))
  if len(rest) > 1:
    fail(errors.InputError(f"unexpected argument {rest[1]!r}"))
  return rest


def _tell_all_in_help(program: str) -> None:
  """Else --help tells of the flags that the main module itself has defined."""
  for module, found in flags.FLAGS.flags_by_module_dict().items():
    if module.startswith("dicm_jax."):
      for flag in found:
        flags.FLAGS.register_key_flag_for_module(program, flag)


def config_values(config: flags.FlagHolder) -> dict[str, Any]:
  """What a flag of `DEFINE_config_file` holds, as nested dicts.

  Raises:
    InputError: the file cannot be read, or makes no config.
  """
  try:
    return config.value.to_dict()
  except OSError as e:  # Kept back until the values are asked for.
    raise errors.InputError(_explain(e)) from e
  except AttributeError as e:
    raise errors.InputError(
      "--config: expected get_config() to return a ConfigDict of "
      f"ml_collections, found {type(config.value).__name__}"
    ) from e


def _explain(error: Exception, argv: Sequence[str] = ()) -> str:
  """One line for whatever goes wrong while flags are parsed."""
  place = _in_config_file(error)
  if place:
    return f"--config: {place}"
  text = _one_line(error)
  if isinstance(error, OSError):
    return f"--config: {text[max(text.rfind('[Errno'), 0) :]}"
  if isinstance(error, (AttributeError, KeyError)):
    return _explain_key(text, argv)
  return text


def _one_line(error: BaseException) -> str:
  return " ".join(" ".join(str(a) for a in error.args).split())


def _in_config_file(error: BaseException | None) -> str | None:
  """File, line and error where the config file itself is wrong, else None."""
  place = None
  while error:  # The last is the first that happened.
    if (
      isinstance(error, SyntaxError)
      and pathlib.Path(error.filename or "").is_file()
    ):
      place = f"{error.filename}, line {error.lineno}: {error.msg}"
    for frame, line in traceback.walk_tb(error.__traceback__):
      if frame.f_globals.get("__name__") == _CONFIG_MODULE:
        what = f"{type(error).__name__}: {_one_line(error)}"
        place = f"{frame.f_code.co_filename}, line {line}: {what}"
    error = error.__cause__ or error.__context__
  return place


def _explain_key(text: str, argv: Sequence[str]) -> str:
  # A quoted name, at times with a hint, quoted again: '\'stpes\'\nDid ...
  name = re.match(r"""['"\\]*(\w+)['"\\]*(\\n|\s*Did|$)""", text)
  if not name:
    return f"--config: {text}"
  section = _section(name[1], argv)
  near = re.search(r'Did you mean "(\w+)"', text)
  hint = f"; did you mean {section + near[1]!r}?" if near else ""
  return f"unknown config key {section + name[1]!r}{hint}"


def _section(name: str, argv: Sequence[str]) -> str:
  """What stands before the key's last name in its flag, e.g. `train.`."""
  pattern = re.compile(rf"--?config\.((?:\w+\.)*){name}\b")
  return next((m[1] for m in map(pattern.match, argv) if m), "")


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
    InputError: a flag is out of range, a plugin fails, or the processes do not
      meet.
  """
  start_logs()
  plugins.load()
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
  # JAX aborts the others when process 0 is gone, and says so. Where each thread
  # was then is of no use.
  faulthandler.disable()
  # SIGTERM is `preemption`'s; JAX's own service would swallow it.
  jax.config.update("jax_enable_preemption_service", False)
  join = functools.partial(
    jax.distributed.initialize, heartbeat_timeout_seconds=_HEARTBEAT_S
  )
  try:
    if coordinator == "auto":
      join()
    else:
      join(coordinator, count, me)
  except (RuntimeError, ValueError) as e:
    raise errors.InputError(f"--coordinator={coordinator}: {e}") from e


def show(result: dict[str, Any]) -> None:
  """Prints a command's result, on one of several processes."""
  if jax.process_index() == 0:
    print(json.dumps(result, indent=2, sort_keys=True))


def hide_late_answers() -> None:
  """Keeps dozens of tracebacks about one damaged file off the screen.

  Orbax leaves its event loop at the first array that cannot be read, with an
  error that is raised. The answers to the other reads find it closed, and each
  is told of by asyncio, or by Python when it is thrown away.
  """
  logging.getLogger("asyncio").setLevel(logging.CRITICAL)
  show = sys.unraisablehook

  def show_others(what) -> None:
    text = str(what.exc_value)
    if not any(known in text for known in _LATE):
      show(what)

  sys.unraisablehook = show_others


def start_logs() -> None:
  """Lets our own log through, and of the libraries' only warnings."""
  absl.logging.set_verbosity(absl.logging.WARNING)  # Orbax tells a lot.
  hide_late_answers()
  handler = logging.StreamHandler()
  handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
  ours = logging.getLogger("dicm_jax")
  ours.handlers, ours.propagate = [handler], False
  ours.setLevel(logging.INFO)
