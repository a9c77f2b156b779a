"""The exceptions whose text is the whole report to the user."""

from collections.abc import Iterable, Iterator
import contextlib
import difflib
import pathlib

_HEAD, _TAIL, _LINES = 700, 300, 100
"""Letters kept of a long line, and lines of a long text."""
_NAMES, _NAME = 1000, 200
"""Names, and letters of one, among which a like one is looked for."""


class InputError(ValueError):
  """A mistake in a config, a file or a flag; its text is the whole report.

  Commands print the text alone and exit with code 2. It quotes files, so what
  could steer a terminal is escaped, and what no screen holds is cut.

  >>> print(InputError("log.csv: found " + chr(27)))
  log.csv: found \\x1b
  """

  def __init__(self, text: str):
    lines = text.split("\n")
    more = ["..."] if len(lines) > _LINES else []
    super().__init__("\n".join([*map(_readable, lines[:_LINES]), *more]))


def _readable(line: str) -> str:
  if len(line) > _HEAD + _TAIL + 5:
    line = f"{line[:_HEAD]} ... {line[-_TAIL:]}"
  if line.isprintable():
    return line
  return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


class NonFiniteError(RuntimeError):
  """The numbers of a run went out of bounds; commands exit with code 1."""


class Preempted(Exception):
  """A run was told to stop, and nothing is lost; commands exit with code 0."""


class LostProcessError(RuntimeError):
  """Another of several processes has ended; commands exit with code 1."""


class WriteError(RuntimeError):
  """A run's file could not be written; commands exit with code 1."""


@contextlib.contextmanager
def writing(file: pathlib.Path, *kinds: type[Exception]) -> Iterator[None]:
  """Makes an OSError, or one of other kinds, a WriteError that names the file.

  Raises:
    WriteError: the file cannot be written.
    LostProcessError: it is none of the file's, whatever the kinds.
  """
  try:
    yield
  except LostProcessError:
    raise
  except (OSError, *kinds) as e:
    raise WriteError(f"{file} cannot be written: {reason(e)}") from e


def reason(error: Exception) -> str:
  """What has happened, without what tensorstore says of its settings."""
  text = getattr(error, "strerror", None) or str(error)
  return text.split(" [tensorstore_spec")[0].split(" [source locations")[0]


def unknown_name(what: str, found: str, known: Iterable[str]) -> InputError:
  """Says that a name is unknown and which known one is nearest.

  >>> str(unknown_name("backbone", "vgg61", ["vgg16", "squeezenet"]))
  "unknown backbone 'vgg61'; did you mean 'vgg16'? (known: squeezenet, vgg16)"
  """
  names = sorted(known)
  few = [name for name in names[:_NAMES] if len(name) <= _NAME]
  near = difflib.get_close_matches(found[:_NAME], few, n=1, cutoff=0.5)
  hint = f"; did you mean {near[0]!r}?" if near else ""
  return InputError(
    f"unknown {what} {found!r}{hint} (known: {', '.join(names)})"
  )
