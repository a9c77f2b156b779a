"""What a profiler's trace says of a program: time by instruction, and when.

Read by `jax.profiler.ProfileData`, whose planes, lines and events are told by
names and "stats". Where there is a device, an event of its plane is an
instruction that ran there. On a CPU instructions run on the host's threads, and
what one of them hands to the thread pool is its own too (pool.py).
"""

import collections
from collections.abc import Iterable, Sequence
import pathlib
from typing import Any, NamedTuple
import warnings

import jax

from dicm_jax.profiling import pool, spans

_STREAM, _XLA_OPS = "Stream", "XLA Ops"
"""Lines of a device's plane: what ran on a GPU's stream; instructions, on a GPU
the former told again."""
_FROM_HOST = "MemcpyH2D"


class Op(NamedTuple):
  """An instruction of a program."""

  name: str
  """Its name in the HLO text; of an event that tells none, the event's own."""
  module: str
  """The program's name; empty: the event tells none."""
  program: str
  """Tells programs of one name apart, those of two shapes; empty: unknown."""


class Trace(NamedTuple):
  """A trace in a window of time; times in nanoseconds."""

  work: dict[Op, float]
  """Time of each instruction, summed over threads, or streams and devices."""
  busy: list[spans.Interval]
  """When at least one instruction ran."""
  copies: list[spans.Interval]
  """When a device was sent something by the host: it is no work of a device."""
  marks: dict[str, list[spans.Interval]]
  """When the host was in a `jax.profiler.TraceAnnotation`, by its name."""


def read(
  file: pathlib.Path, *, on_cpu: bool, window: str, marks: Sequence[str] = ()
) -> Trace:
  """Reads what happened in a window.

  Args:
    file: `*.xplane.pb`, as the profiler wrote it.
    on_cpu: whether the host's threads run the instructions, or devices do.
    window: name of the annotation that spans the window.
    marks: names of the annotations to look for.

  Raises:
    ValueError: the trace has no such window, or several.
  """
  data = jax.profiler.ProfileData.from_file(str(file))
  with warnings.catch_warnings():
    # From Python 3.12 on jaxlib's types warn of a missing __module__ when they
    # are first used. Where warnings are errors, the process would crash.
    warnings.simplefilter("ignore", DeprecationWarning)
    return of_planes(data.planes, on_cpu=on_cpu, window=window, marks=marks)


def of_planes(
  planes: Iterable[Any],
  *,
  on_cpu: bool,
  window: str,
  marks: Sequence[str] = (),
) -> Trace:
  """As `read`, of the planes of `ProfileData`, or what looks like them."""
  planes = list(planes)
  host = [plane for plane in planes if plane.name.startswith("/host:")]
  found = _marks(host, (window, *marks))
  if len(found[window]) != 1:
    raise ValueError(
      f"expected a trace with one annotation {window!r}, found {found[window]}"
    )
  (within,) = found[window]
  # Where devices run them, the host's threads tell their names as well.
  ran = _on_threads(host) if on_cpu else _on_devices(planes)
  ran = [each for each in ran if _starts_in(each, within)]
  work: dict[Op, float] = collections.defaultdict(float)
  busy, copies = [], []
  for each in ran:
    op = each.span.what
    copy = op.name == _FROM_HOST and not op.module
    (copies if copy else busy).append((each.span.start, each.span.end))
    if not copy:
      work[op] += each.own
  return Trace(
    dict(work),
    spans.clip(spans.union(busy), within),
    spans.clip(spans.union(copies), within),
    {name: spans.clip(found[name], within) for name in (window, *marks)},
  )


def _on_threads(host) -> list[spans.Nested]:
  lines = [line for plane in host for line in plane.lines]
  return pool.ran([list(line.events) for line in lines], _op)


def _on_devices(planes) -> list[spans.Nested]:
  devices = [p for p in planes if p.name.startswith("/device:")]
  lines = [line for plane in devices for line in _op_lines(plane)]
  return [
    each for line in lines for each in spans.nest(map(_on_device, line.events))
  ]


def _op_lines(plane) -> list[Any]:
  """The lines that hold each instruction once."""
  lines = list(plane.lines)
  for name in (_STREAM, _XLA_OPS):
    found = [line for line in lines if line.name.startswith(name)]
    if found:
      return found
  return []


def _on_device(event) -> spans.Span:
  op = _op(event) or Op(event.name, "", "")
  return spans.Span(event.start_ns, event.start_ns + event.duration_ns, op)


def _op(event) -> Op | None:
  """The instruction that an event says it is."""
  stats = dict(event.stats)
  if not stats.get("hlo_op"):
    return None
  return Op(
    str(stats["hlo_op"]).removeprefix("%"),
    str(stats.get("hlo_module", "")),
    str(stats.get("program_id", "")),
  )


def _starts_in(each: spans.Nested, window: spans.Interval) -> bool:
  return window[0] <= each.span.start < window[1]


def _marks(host, names: Sequence[str]) -> dict[str, list[spans.Interval]]:
  found: dict[str, list[spans.Interval]] = {name: [] for name in names}
  for plane in host:
    for line in plane.lines:
      for event in line.events:
        if event.name in found:
          end = event.start_ns + event.duration_ns
          found[event.name].append((event.start_ns, end))
  return found
