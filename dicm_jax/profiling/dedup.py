"""How much of an input thread's time goes into the worker-level dedup."""

from collections.abc import Callable, Iterable
import cProfile
import inspect
import time
from typing import Any

from dicm_jax.data import device_slice
from dicm_jax.profiling.summary import InputThread


def measure(
  make_batch: Callable[[int], Any], steps: Iterable[int]
) -> InputThread:
  """Makes some batches again, in this thread, and times it.

  Args:
    make_batch: step -> its batch, on the host.
    steps: whose batches to make.
  """
  dedup = inspect.unwrap(device_slice.distinct).__code__
  numbers = list(steps)
  # Thread time: other threads' work is no part of it.
  profile = cProfile.Profile(time.thread_time)
  start = time.thread_time()
  for step in numbers:
    profile.runcall(make_batch, step)
  batch_s = time.thread_time() - start
  dedup_s = sum(e.totaltime for e in profile.getstats() if e.code is dedup)
  to_ms = 1e3 / len(numbers)
  return InputThread(batch_ms=batch_s * to_ms, dedup_ms=dedup_s * to_ms)
