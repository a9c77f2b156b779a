"""All that reads, by name."""

import functools

from tests.faults.fuzz import (
  data_set,
  judge,
  logs,
  pictures,
  settings,
  vectors,
  weights,
  xdl_files,
)

_KINDS = (
  logs,
  xdl_files,
  settings,
  pictures,
  vectors,
  weights,
  data_set,
)


@functools.cache
def everything() -> dict[str, judge.Target]:
  return {name: t for kind in _KINDS for name, t in kind.targets().items()}
