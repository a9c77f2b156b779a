"""Which part of a step each instruction of its compiled program belongs to."""

from collections import Counter
from collections.abc import Iterable, Sequence
import re
from typing import NamedTuple

import jax
from jaxtyping import PyTree

from dicm_jax.profiling import parts

_MODULE = re.compile(r"^HloModule (?P<name>[\w.-]+)")
# `%name (parameters) -> shape {`, in front of the instructions in it.
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?(?P<name>[\w.-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?(?P<name>[\w.-]+) = (?P<rest>.*)$")
# Those that run other computations as a whole, in front of their operands.
_RUNS = re.compile(r"(?<![\w-])(?P<opcode>fusion|call|while|conditional)\(")
_OP_NAME = re.compile(r'op_name="(?P<name>[^"]*)"')
_CALLED = re.compile(
  r"\b(?:calls|to_apply|condition|body|branch_computations|true_computation"
  r"|false_computation|called_computations)=(?P<names>\{[^}]*\}|%?[\w.-]+)"
)
_NAME = re.compile(r"[\w.-]+")
_REFERENCE = re.compile(r"%(?P<name>[\w.-]+)")


class _Instruction(NamedTuple):
  name: str
  computation: str
  """In which it stands."""
  part: str | None
  """That its own op_name says."""
  opcode: str
  """"fusion", "call", "while" or "conditional"; empty: any other."""
  calls: tuple[str, ...]
  """Computations that it runs, or applies."""
  takes: tuple[str, ...]
  """What it refers to, operands among them."""


def text_of(step: jax.stages.Wrapped, *args: PyTree) -> str:
  """Text of a step, compiled for its arguments or ones of their shapes."""
  return step.lower(*args).compile().as_text() or ""


def module_of(text: str) -> str:
  """Name of a program, under which its events run."""
  found = _MODULE.match(text)
  return found["name"] if found else ""


def part_of_instructions(text: str) -> dict[str, str]:
  """Part of every instruction that has one, by the instruction's name.

  An instruction is of the part that its op_name says; or else, a fusion, of
  the one most frequent in what it calls; or else, zeros and copies that the
  compiler added, of that of the first instruction that takes it; or else of
  that of the loop, branch or call in whose body it stands. A nameless call may
  run all kinds of things, as one that became a CUDA graph does: it has none.

  Args:
    text: `compiled.as_text()`, with metadata.
  """
  instructions = list(_read(text))
  found = {each.name: each.part for each in instructions if each.part}
  found |= _of_bodies(instructions, found)
  found |= _of_takers(instructions, found)
  return found | _of_callers(instructions, found)


def _read(text: str) -> Iterable[_Instruction]:
  computation = ""
  for line in text.splitlines():
    if header := _COMPUTATION.match(line):
      computation = header["name"]
    elif match := _INSTRUCTION.match(line):
      op_name = _OP_NAME.search(line)
      calls = " ".join(m["names"] for m in _CALLED.finditer(line))
      runs = _RUNS.search(match["rest"])
      yield _Instruction(
        match["name"],
        computation,
        parts.of(op_name["name"]) if op_name else None,
        opcode=runs["opcode"] if runs else "",
        calls=tuple(_NAME.findall(calls)),
        takes=tuple(_REFERENCE.findall(match["rest"])),
      )


def _of_bodies(
  instructions: Sequence[_Instruction], found: dict[str, str]
) -> dict[str, str]:
  """Parts of nameless fusions: most frequent in what they call."""
  inside: dict[str, Counter[str]] = {}
  for each in instructions:
    if each.name in found:
      inside.setdefault(each.computation, Counter())[found[each.name]] += 1
  more = {}
  for each in instructions:
    if each.opcode != "fusion" or each.name in found:
      continue
    counts = sum((inside.get(c, Counter()) for c in each.calls), Counter())
    if counts:
      more[each.name] = counts.most_common(1)[0][0]
  return more


def _of_takers(
  instructions: Sequence[_Instruction], found: dict[str, str]
) -> dict[str, str]:
  """Parts of what is made for an instruction that has one."""
  more, wanted_by = {}, {}
  for each in reversed(instructions):  # Operands stand in front of takers.
    part = found.get(each.name)
    if not part and each.opcode in ("", "fusion"):
      part = wanted_by.get(each.name)
    if part:
      more[each.name] = part
      wanted_by |= dict.fromkeys(each.takes, part)
  return more


def _of_callers(
  instructions: Sequence[_Instruction], found: dict[str, str]
) -> dict[str, str]:
  """Parts of instructions in the bodies of loops, branches and calls."""
  callers = {name: each for each in instructions for name in each.calls}
  more = {}
  # A body stands in front of its caller, so callers come first here.
  for each in reversed(instructions):
    caller = callers.get(each.computation)
    if each.name in found or caller is None:
      continue
    part = found.get(caller.name) or more.get(caller.name)
    if part:
      more[each.name] = part
  return more
