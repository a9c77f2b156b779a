"""The exceptions whose text is the whole report to the user."""

from collections.abc import Iterable, Iterator
import contextlib
import difflib
import pathlib


class InputError(ValueError):
  """A mistake in a config, a file or a flag; its text is the whole report.

  Commands print the text alone and exit with code 2.
  """


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
  """
  try:
    yield
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
  near = difflib.get_close_matches(found, names, n=1, cutoff=0.5)
  hint = f"; did you mean {near[0]!r}?" if near else ""
  return InputError(
    f"unknown {what} {found!r}{hint} (known: {', '.join(names)})"
  )
