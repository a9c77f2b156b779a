"""One run a folder: the first keeps the others out."""

import contextlib
import datetime
import fcntl
import json
import logging
import os
import pathlib
import socket

from dicm_jax import errors
from dicm_jax import workdir as workdir_lib

_log = logging.getLogger(__name__)


class RunLock:
  """Held by one process at a time; the kernel frees it however that ends.

  The file stays, as whoever removed it could not know who waits for it. It says
  who holds the lock, and is empty when it was given back.

  Args:
    workdir: the run's folder.
  """

  def __init__(self, workdir: pathlib.Path):
    self._workdir = workdir
    self._held: int | None = None
    """The open file, as a number."""

  def __enter__(self) -> "RunLock":
    return self

  def __exit__(self, *_) -> None:
    if self._held is not None:
      with contextlib.suppress(OSError):  # The disk may be what ended the run.
        os.ftruncate(self._held, 0)
      os.close(self._held)
      self._held = None

  def take_if_run(self) -> None:
    """Takes the lock of a folder that is a run's already, see `take`."""
    if (self._workdir / workdir_lib.CONFIG).exists():
      self.take()

  def take(self) -> None:
    """Takes the lock, and makes the folder for it where there is none.

    Raises:
      InputError: another run holds it, or the file cannot be written.
    """
    if self._held is not None:
      return
    try:
      self._workdir.mkdir(parents=True, exist_ok=True)
      path = self._workdir / workdir_lib.LOCK
      file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as e:
      raise errors.InputError(
        f"--workdir: {self._workdir}: {e.strerror}"
      ) from e
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as e:
      holder = _holder(file)
      os.close(file)
      raise errors.InputError(
        f"--workdir: {self._workdir} is in use by {holder}; stop that run "
        "first, or name another folder"
      ) from e
    except OSError as e:
      _log.warning(
        "%s cannot be locked (%s): keep other runs out of the folder yourself",
        path,
        e.strerror,
      )
    with contextlib.suppress(OSError):  # Of a full disk; the lock holds.
      _introduce(file)
    self._held = file


def _introduce(file: int) -> None:
  """Writes who holds the lock."""
  now = datetime.datetime.now().astimezone()
  me = {
    "host": socket.gethostname(),
    "pid": os.getpid(),
    "since": now.isoformat(timespec="seconds"),
  }
  os.ftruncate(file, 0)
  os.pwrite(file, json.dumps(me).encode(), 0)


def _holder(file: int) -> str:
  """Who holds the lock, as far as the file says it."""
  try:
    found = json.loads(os.pread(file, 4096, 0))
    return f"process {found['pid']} on {found['host']} since {found['since']}"
  except (ValueError, KeyError, TypeError):  # Taken, and not yet written.
    return "another process"
