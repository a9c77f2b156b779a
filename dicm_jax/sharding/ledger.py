"""What a compiled step moves between devices, read from its own HLO text.

python -m dicm_jax.sharding.ledger --config=configs/dicm.py --cpu_devices=8

The figures are those of the program that runs, not of a formula beside it: each
collective of the optimised HLO, its shape, its group and the named scope that
it was written in.
"""

from collections.abc import Iterable
import dataclasses
import math
import re

_KINDS = (
  "ragged-all-to-all|all-to-all|all-reduce|all-gather|reduce-scatter|"
  "collective-permute"
)
# `%name = SHAPE kind(operands), ..., replica_groups=..., op_name="..."`; of an
# asynchronous pair the start counts, and the done moves nothing more.
_COLLECTIVE = re.compile(
  rf"=\s+(?P<shape>\(.*?\)|\S+)\s+(?P<kind>{_KINDS})(?:-start)?\("
)
_ARRAY = re.compile(r"\b(?P<type>[a-z]+[0-9]*)\[(?P<dims>[\d,]*)\]")
_LISTED = re.compile(r"replica_groups=\{\{(?P<first>[\d,]+)\}")
_IOTA = re.compile(r"replica_groups=\[(?P<groups>\d+),(?P<size>\d+)\]<=")
_OP_NAME = re.compile(r'op_name="(?P<name>[^"]*)"')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Collective:
  """One collective instruction of a compiled program."""

  kind: str
  scope: str
  """Path of named scopes it was written in."""
  result_bytes: int
  """Size of its result on one device."""
  group_size: int
  """Devices that take part together."""
  in_loop: bool
  """Whether it runs once for each further round of an exchange."""

  @property
  def wire_bytes(self) -> float:
    """Bytes that one device sends to others each time it runs.

    What a device keeps to itself is not sent; of a ragged exchange, no more
    than this. An all-reduce is counted as the
    bandwidth-optimal ring: a reduce-scatter and an all-gather.
    """
    n, size = self.group_size, self.result_bytes
    others = (n - 1) / n
    if self.kind == "all-reduce":
      return 2 * size * others
    if self.kind == "reduce-scatter":
      return size * (n - 1)
    if self.kind == "collective-permute":
      return float(size)
    return size * others


def collectives(hlo: str, *, num_devices: int) -> list[Collective]:
  """Reads the collectives of `compiled.as_text()`.

  Args:
    hlo: optimised HLO of one step.
    num_devices: devices of the program, the group where none is written.
  """
  found = []
  for line in hlo.splitlines():
    match = _COLLECTIVE.search(line)
    if match is None:
      continue
    name = _OP_NAME.search(line)
    scope = name["name"] if name else ""
    found.append(
      Collective(
        kind=match["kind"],
        scope=scope,
        result_bytes=_bytes_of(match["shape"]),
        group_size=_group_size(line, num_devices),
        in_loop="/while/" in scope,
      )
    )
  return found


def wire_bytes(
  found: Iterable[Collective], scope: str, *, rounds: int = 1
) -> float:
  """Bytes that one device sends in a step within the scopes named so.

  Args:
    found: the program's collectives.
    scope: a part of the named scope, e.g. "images.vectors".
    rounds: rounds that the exchange took. The first stands in line, the
      further ones in a loop.
  """
  return math.fsum(
    c.wire_bytes * (rounds - 1 if c.in_loop else 1)
    for c in found
    if scope in c.scope
  )


def _bytes_of(shape: str) -> int:
  """Bytes of an HLO shape, a tuple's parts added up."""
  total = 0
  for array in _ARRAY.finditer(shape):
    bits = int(re.sub(r"\D", "", array["type"]) or 8)  # `pred` takes a byte.
    dims = [int(d) for d in array["dims"].split(",") if d]
    total += math.prod(dims) * max(bits // 8, 1)
  return total


def _group_size(line: str, num_devices: int) -> int:
  listed, iota = _LISTED.search(line), _IOTA.search(line)
  if listed:
    return len(listed["first"].split(","))
  return int(iota["size"]) if iota else num_devices


if __name__ == "__main__":
  # The command compiles a whole step, which lies above this package.
  from dicm_jax import ledger_report

  ledger_report.run()
