"""What every reader promises of any input, and whether it keeps it.

An input is accepted, or an InputError names the place and the reason in a text
that fits a screen. No other exception, at most a second of computing, at most a
GB of memory.
"""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import pathlib
import re
import resource
import signal
import time
import traceback
from typing import NamedTuple
import warnings

from dicm_jax import errors

SECONDS = 1.0
"""Of computing that one reader may take for one input."""
GROWTH = 1 << 30
"""Bytes of memory that one input may cost."""
LONGEST = 1500
"""Characters of a message, the folder's name left out."""


class Violation(AssertionError):
  """A promise was broken."""


class _TooLong(BaseException):
  """No `Exception`, so that a reader does not take it for damage."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
  """Files of a kind, and what reads them."""

  files: Mapping[str, bytes]
  """Examples by name; all lie in one folder, and any one is made wrong."""
  reads: tuple[Callable[[pathlib.Path], object], ...]
  """Each reads the file of this path as far as it can be read."""
  beside: Callable[[pathlib.Path], object] = lambda _: None
  """Makes what else lies in the folder."""
  wrong: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
  """Hostile from the start: given as they are, once."""
  lie: Callable[[pathlib.Path], object] | None = None
  """What a liar would change besides, given the path of the changed file."""
  place: Callable[[pathlib.Path], str] = lambda path: path.name
  """What a message must name."""


class Outcome(NamedTuple):
  """How the readers took an input that broke no promise."""

  accepted: bool
  """By all of them."""
  seconds: float
  """Of computing, of the slowest."""


def fill(target: Target, folder: pathlib.Path) -> None:
  """Puts the examples into a folder."""
  folder.mkdir(parents=True, exist_ok=True)
  target.beside(folder)
  for name, data in target.files.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def judge(
  target: Target, folder: pathlib.Path, name: str, data: bytes
) -> Outcome:
  """Gives an input to each reader.

  Args:
    target: whose examples lie in `folder`.
    folder: as `fill` left it, and as it is left.
    name: of the file that is changed.
    data: its contents.

  Raises:
    Violation: a promise was broken.
  """
  path = folder / name
  path.write_bytes(data)
  if target.lie is not None:
    target.lie(path)
  found = [_judge(read, path, target.place(path)) for read in target.reads]
  if target.lie is not None:
    fill(target, folder)
  if name in target.files:
    path.write_bytes(target.files[name])
  else:
    path.unlink()
  return Outcome(all(f.accepted for f in found), max(f.seconds for f in found))


def _judge(read: Callable, path: pathlib.Path, place: str) -> Outcome:
  before, start = peak(), time.process_time()
  message = ""
  with warnings.catch_warnings(), _within(SECONDS):
    warnings.simplefilter("ignore")
    try:
      read(path)
    except errors.InputError as e:
      message = str(e)
    except _TooLong as e:
      raise Violation(f"more than {SECONDS} s\n{_where(e)}") from e
    except (Exception, RecursionError) as e:
      raise Violation(_where(e)) from e
  seconds = time.process_time() - start
  if seconds > SECONDS:
    raise Violation(f"{read}: {seconds:.1f} s without a look at the clock")
  if peak() - before > GROWTH:
    raise Violation(f"{read}: {(peak() - before) >> 20} MB more memory")
  if message:
    _check(message, path, place)
  return Outcome(not message, seconds)


def _check(message: str, path: pathlib.Path, place: str) -> None:
  if place not in message:
    raise Violation(f"a message without {place!r}: {message[:300]}")
  if len(message.replace(str(path.parent), "")) > LONGEST:
    raise Violation(f"a message of {len(message)} letters: {message[:300]}")
  if not message.replace("\n", "").isprintable():
    raise Violation(f"a message with what no screen shows: {message[:300]!r}")


def _where(e: BaseException) -> str:
  """The last lines of ours that it went through, and what it is."""
  frames = traceback.extract_tb(e.__traceback__)
  ours = [f for f in frames if "dicm_jax/" in f.filename]
  lines = [f"{f.filename}:{f.lineno} {f.line}" for f in ours[-4:]]
  return "\n".join([*lines, f"{type(e).__name__}: {str(e)[:300]}"])


@contextlib.contextmanager
def _within(seconds: float) -> Iterator[None]:
  """Interrupts what computes longer; time of other programs does not count."""

  def late(*_):
    raise _TooLong

  before = signal.signal(signal.SIGPROF, late)
  signal.setitimer(signal.ITIMER_PROF, seconds)
  try:
    yield
  finally:
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)


def forget_peak() -> None:
  """Lets the peak begin anew at what is held now, where Linux can do that."""
  file = pathlib.Path("/proc/self/clear_refs")
  if file.exists():
    file.write_text("5")


def peak() -> int:
  """Bytes of memory that this process held at most so far."""
  status = pathlib.Path("/proc/self/status")
  if status.exists():  # What getrusage says has that of our parent in it.
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    if found:
      return int(found[1]) << 10
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
