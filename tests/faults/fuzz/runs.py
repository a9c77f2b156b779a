"""Many inputs for one kind of reader, and what became of them."""

from collections.abc import Callable, Iterator
import dataclasses
import pathlib
import tempfile

import hypothesis

from tests.faults.fuzz import judge, mutations

_AT_ONCE = 500
"""Inputs of one search by hypothesis: it remembers all that it tried."""


_MEMORY = pathlib.Path("/dev/shm")
"""A folder in memory, where the system has it: a disk takes a ms a file."""


def folder() -> tempfile.TemporaryDirectory:
  """A new one, gone after use."""
  place = _MEMORY if _MEMORY.is_dir() else None
  return tempfile.TemporaryDirectory(prefix="fuzz.", dir=place)


@dataclasses.dataclass
class Tally:
  """Of one kind of reader."""

  inputs: int = 0
  accepted: int = 0
  rejected: int = 0
  slowest_s: float = 0.0
  """Of computing."""
  broken: dict[str, str] = dataclasses.field(default_factory=dict)
  """Broken promises, and the file that each was kept in."""

  def add(self, found: judge.Outcome) -> None:
    self.inputs += 1
    self.accepted += found.accepted
    self.rejected += not found.accepted
    self.slowest_s = max(self.slowest_s, found.seconds)


def run(
  target: judge.Target,
  folder: pathlib.Path,
  count: int,
  seed: int,
  keep: Callable[[str, bytes], str],
) -> Tally:
  """Gives a reader its hostile files and then `count` changed ones.

  Args:
    target: the files, and what reads them.
    folder: an empty one.
    count: of changed files.
    seed: the same one makes the same files.
    keep: keeps a file that broke a promise, and says where.
  """
  tally = Tally()
  judge.fill(target, folder)

  def give(name: str, data: bytes) -> None:
    try:
      tally.add(judge.judge(target, folder, name, data))
    except judge.Violation as e:
      tally.inputs += 1
      if str(e) not in tally.broken:
        tally.broken[str(e)] = keep(name, data)
      judge.fill(target, folder)

  for name, data in (*target.files.items(), *target.wrong.items()):
    give(name, data)
  for number, size in enumerate(_sizes(count)):
    _search(target, size, seed + number, lambda given: give(*given))
  return tally


def _sizes(count: int) -> Iterator[int]:
  while count > 0:
    yield min(count, _AT_ONCE)
    count -= _AT_ONCE


def _search(target, count: int, seed: int, give: Callable) -> None:
  settings = hypothesis.settings(
    max_examples=count,
    database=None,
    deadline=None,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
  )
  searched = hypothesis.given(mutations.of(target.files))(give)
  hypothesis.seed(seed)(settings(searched))()
