"""SIGTERM, by which a cluster says that a process has to go."""

from collections.abc import Iterator
import contextlib
import signal

from dicm_jax import errors
from dicm_jax.sharding import mesh as mesh_lib


class Notice:
  """Whether the run was told to stop.

  Where nothing can be saved, or all is, being told raises `Preempted`, in the
  midst of whatever the main thread does. While steps are made it is only noted.
  """

  def __init__(self):
    self._told = False
    self._only_noted = False
    self._place = "before the first step, so there was nothing to save"

  def tell(self, *_) -> None:
    """Tells the run to stop; a signal handler. Once is enough.

    Raises:
      Preempted: no steps are being made.
    """
    again, self._told = self._told, True
    if not again and not self._only_noted:
      raise errors.Preempted(f"stopped {self._place}")

  def to_any(self) -> bool:
    """Whether any process was told so far; all of them must ask."""
    return bool(mesh_lib.largest({"told": int(self._told)})["told"])

  @contextlib.contextmanager
  def noted(self) -> Iterator[None]:
    """While steps are made, whose last is saved at the end.

    Raises:
      Preempted: at the end, if the run was told meanwhile.
    """
    self._only_noted = True
    yield
    self._only_noted = False  # Not after an error, which is to be reported.
    self._place = "after the last step, which is saved"
    if self._told:
      raise errors.Preempted(f"stopped {self._place}")


@contextlib.contextmanager
def noticed() -> Iterator[Notice]:
  """Lets SIGTERM tell a run to stop; in the main thread."""
  notice = Notice()
  before = signal.signal(signal.SIGTERM, notice.tell)
  try:
    yield notice
  finally:
    signal.signal(signal.SIGTERM, before)
