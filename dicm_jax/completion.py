"""Completion of the command `dicm` in bash and zsh."""

from concurrent import futures
import subprocess
import sys
from xml.etree import ElementTree

from dicm_jax import errors
from dicm_jax.commands import COMMANDS

SHELLS = ("bash", "zsh")

_SCRIPT = """\
# Completion of dicm; made by: dicm completion {shell}
{before}_dicm() {{
  local word=${{COMP_WORDS[COMP_CWORD]}}
  if (( COMP_CWORD == 1 )); then
    COMPREPLY=($(compgen -W "{names}" -- "$word"))
    return
  fi
  local flags=
  case ${{COMP_WORDS[1]}} in
{cases}
  esac
  if [[ $word == --* ]]; then
    compopt -o nospace 2> /dev/null
    COMPREPLY=($(compgen -W "$flags" -- "$word"))
  fi
}}
complete -o default -F _dicm dicm"""
_ZSH = "autoload -U +X bashcompinit && bashcompinit\n"


def script(shell: str) -> str:
  """A script for the shell, with the flags that the commands tell of.

  Raises:
    InputError: it is no shell of SHELLS.
  """
  if shell not in SHELLS:
    raise errors.unknown_name("shell", shell, SHELLS)
  with futures.ThreadPoolExecutor(2) as pool:
    found = pool.map(flags_of, (it.module for it in COMMANDS.values()))
    cases = [
      f'    {name}) flags="{" ".join(flags)}" ;;'
      for name, flags in zip(COMMANDS, found, strict=True)
    ]
  return _SCRIPT.format(
    shell=shell,
    before=_ZSH if shell == "zsh" else "",
    names=" ".join([*COMMANDS, "completion"]),
    cases="\n".join(cases),
  )


def flags_of(module: str) -> list[str]:
  """A command's own flags, as one types them, sorted."""
  asked = subprocess.run(
    [sys.executable, "-m", module, "--helpxml"],
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    check=False,  # Absl ends its help with code 1.
  )
  found = []
  for flag in ElementTree.fromstring(asked.stdout).iter("flag"):
    if flag.findtext("key") == "yes":
      switch = flag.findtext("type") == "bool"
      found.append(f"--{flag.findtext('name')}" + ("" if switch else "="))
  return sorted(found)
