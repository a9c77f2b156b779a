"""What several processes do as one, and what is left when one has ended."""

from collections.abc import Callable, Iterator
import contextlib
import logging
import os
import re
import sys
import time

import jax
from jax.experimental import multihost_utils
import numpy as np

from dicm_jax import errors

_log = logging.getLogger(__name__)

_LONGEST = 4096
"""Bytes of a message that process 0 hands to the others."""

_BROKEN = re.compile("gloo|nccl|connection|coordination|UNAVAILABLE", re.I)
"""What errors speak of when an exchange between processes fails."""
_FIRST_LEAVES_AFTER_S = 5


def on_first(action: Callable[[], None]) -> None:
  """Does something on process 0; all must call it, and fail if it fails.

  Raises:
    InputError: `action` did.
  """
  if jax.process_count() == 1:
    action()
    return
  refusal = ""
  if jax.process_index() == 0:
    try:
      action()
    except errors.InputError as e:
      refusal = str(e)
  refusal = _from_first(refusal)
  if refusal:
    raise errors.InputError(refusal)


def _from_first(text: str) -> str:
  """The text that process 0 has, on every process."""
  mine = text.encode()[:_LONGEST].ljust(_LONGEST, b"\0")
  sent = multihost_utils.broadcast_one_to_all(np.frombuffer(mine, np.uint8))
  return np.asarray(sent).tobytes().rstrip(b"\0").decode(errors="replace")


@contextlib.contextmanager
def loss_reported() -> Iterator[None]:
  """Says it at once if an exchange fails because another process is gone.

  Raises:
    LostProcessError: one did.
  """
  try:
    yield
  except errors.InputError:  # A ValueError as well.
    raise
  # JAX makes it a ValueError where NumPy asks for an array's numbers.
  except (jax.errors.JaxRuntimeError, ValueError) as e:
    if jax.process_count() == 1 or not _BROKEN.search(str(e)):
      raise
    lost = errors.LostProcessError(
      "another process has ended, and so does this one; give the same command "
      "again, and the run goes on from its newest checkpoint "
      f"({str(e).partition(chr(10))[0]})"
    )
    # Before anything else waits for that process, until JAX aborts this one.
    _log.error("%s", lost)
    raise lost from e


def leave(code: int) -> None:
  """Ends one of several processes without waiting for the others.

  At its normal end a process waits for all others, some of which may be gone.
  One that runs alone ends as it likes: there this returns.
  """
  if jax.process_count() == 1:
    return
  if jax.process_index() == 0:
    time.sleep(_FIRST_LEAVES_AFTER_S)  # JAX aborts all others when it is gone.
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code)
