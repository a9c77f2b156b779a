"""The command `dicm`: each of the package's commands by a short name.

dicm train --config=configs/dicm.py --workdir=runs/dicm
dicm train --help
dicm completion bash > ~/.local/share/bash-completion/completions/dicm

`dicm NAME` is `python -m dicm_jax.MODULE` in the same process. Exit codes: 0,
done; 1, what was begun could not be ended (a disk, a lost process, numbers that
are not finite); 2, a mistake in what was given, and nothing was changed.
"""

import runpy
import sys

from dicm_jax import completion, errors
from dicm_jax.commands import COMMANDS


def main() -> None:
  """Runs the command that the arguments name."""
  name, *rest = sys.argv[1:] or ["--help"]
  if name in ("-h", "--help", "help"):
    print(_help())
  elif name == "--version":
    from dicm_jax import seal

    print(seal.version())
  else:
    try:
      _run(name, rest)
    except errors.InputError as e:
      print(f"dicm_jax: {e}", file=sys.stderr)
      sys.exit(2)


def _run(name: str, rest: list[str]) -> None:
  """
  Raises:
    InputError: there is no such command.
  """
  if name == "completion":
    print(completion.script(rest[0] if rest else "bash"))
    return
  if name not in COMMANDS:
    raise errors.unknown_name("command", name, [*COMMANDS, "completion"])
  # Absl takes the flags of the module that has the program's name for its own.
  sys.argv = [f"dicm {name}", *rest]
  try:
    runpy.run_module(COMMANDS[name].module, run_name="__main__", alter_sys=True)
  except SystemExit as e:
    # Absl ends its help with 1, as if something had gone wrong.
    sys.exit(0 if {"--help", "-h", "--helpfull"} & {*rest} else e.code)


def _help() -> str:
  told = {name: it.does for name, it in COMMANDS.items()}
  told["completion"] = (
    f"completion of a shell: {' or '.join(completion.SHELLS)}"
  )
  width = max(map(len, told))
  return "\n".join(
    [
      "usage: dicm COMMAND [--flag=value ...]",
      "",
      *(f"  {name:{width}}  {does}" for name, does in told.items()),
      "",
      "dicm COMMAND --help has a command's flags.",
    ]
  )
