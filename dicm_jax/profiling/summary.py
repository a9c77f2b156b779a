"""Where a step's time went: shares of the wall clock, by part."""

import collections
from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any, NamedTuple

from dicm_jax.profiling import hlo, parts, spans
from dicm_jax.profiling.trace import Op, Trace

INPUT = "input"
"""The next batch is waited for, or laid over the devices, and no device works:
what of it is hidden behind a step costs nothing."""
UNATTRIBUTED = "unattributed"
"""Devices run what tells no part: kernels of a CUDA graph, other programs."""
IDLE = "idle"
"""No device works, for another reason: the loop's own work, saving, the launch
of a GPU's kernels."""

WINDOW, NEXT_BATCH = "profiled steps", "next batch"
"""Annotations of the host in the trace: all steps that count; input."""
_LISTED = 5
_MUCH = 0.1


class InputThread(NamedTuple):
  """Thread time of the input pipeline for a batch, hidden behind the steps."""

  batch_ms: float
  dedup_ms: float
  """Of it for the worker-level dedup."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
  """Where the time of some steps went."""

  first_step: int
  """The first of the steps that count, counted from 1 as in the log."""
  steps: int
  ms_per_step: float
  """Of the wall clock."""
  shares: Mapping[str, float]
  """Of the wall clock, by part; they add up to 1. Time in which devices work is
  shared out by the time of the instructions, summed over threads or streams."""
  work_ms_per_step: float
  """That sum; the wall clock's many times where much runs side by side."""
  input_ms_per_step: float
  """Of the wall clock in which the host was busy with input, hidden or not."""
  input_thread: InputThread | None
  """None: batches hold nothing to dedup."""
  largest_unattributed: Mapping[str, float]
  """Share of the wall clock of the largest instructions without a part."""

  def as_json(self) -> dict[str, Any]:
    """What profile.json holds."""
    found = dataclasses.asdict(self)
    thread = self.input_thread
    return found | {"input_thread": thread and thread._asdict()}

  def lines(self) -> list[str]:
    """The table for the reader of the log."""
    ms = self.ms_per_step
    table = [
      f"{name:14} {share:7.1%} {share * ms:9.2f} ms"
      for name, share in self.shares.items()
    ]
    return [
      f"{self.steps} steps from step {self.first_step} on, {ms:.2f} ms each:",
      *table,
      f"instructions side by side: {self.work_ms_per_step:.2f} ms a step",
      f"host busy with input: {self.input_ms_per_step:.2f} ms a step",
      *self._of_input_thread(),
      *self._advice(),
    ]

  def _of_input_thread(self) -> list[str]:
    if self.input_thread is None:
      return []
    batch, dedup = self.input_thread
    return [f"a batch ahead of time: {batch:.2f} ms, its dedup {dedup:.2f} ms"]

  def _advice(self) -> list[str]:
    if not self.work_ms_per_step:
      return [
        "The trace holds no instruction of a device; a GPU's counters may be "
        "closed to this user"
      ]
    if self.shares[UNATTRIBUTED] < _MUCH:
      return []
    return [
      "Much is unattributed: see largest_unattributed in profile.json. Kernels "
      "in CUDA graphs tell no part; to do without graphs for once, set "
      "XLA_FLAGS=--xla_gpu_enable_command_buffer="
    ]


def make(
  trace: Trace,
  programs: Sequence[str],
  *,
  steps: range,
  input_thread: InputThread | None,
) -> Summary:
  """Sums a trace up.

  Args:
    trace: read with the window WINDOW and the mark NEXT_BATCH.
    programs: HLO texts of the compiled step, one for each shape of batch.
    steps: those that ran in the window, counted from 0.
    input_thread: what a batch took of the pipeline's thread.
  """
  wall = spans.total(trace.marks[WINDOW])
  busy = spans.total(trace.busy)
  by_part, nameless = _sort_out(trace.work, programs)
  work = math.fsum(trace.work.values())
  scale = busy / wall / work if work else 0.0  # Of work to shares of the wall.
  waits = trace.marks[NEXT_BATCH] + trace.copies
  taken = spans.total(spans.union(trace.busy + waits))
  shown = {INPUT: (taken - busy) / wall}
  shown |= {p: by_part[p] * scale for p in parts.PARTS if p in by_part}
  shown[UNATTRIBUTED] = math.fsum(nameless.values()) * scale
  shown[IDLE] = max(1 - math.fsum(shown.values()), 0.0)  # Rounding apart.
  ms = 1e-6 / len(steps)
  return Summary(
    first_step=steps[0] + 1,
    steps=len(steps),
    ms_per_step=wall * ms,
    shares=shown,
    work_ms_per_step=work * ms,
    input_ms_per_step=spans.total(trace.marks[NEXT_BATCH]) * ms,
    input_thread=input_thread,
    largest_unattributed={
      name: nameless[name] * scale
      for name in sorted(nameless, key=nameless.__getitem__)[
        : -_LISTED - 1 : -1
      ]
    },
  )


def _sort_out(
  work: Mapping[Op, float], programs: Sequence[str]
) -> tuple[dict[str, float], dict[str, float]]:
  """Time by part, and by name that of instructions without one."""
  known = [hlo.part_of_instructions(text) for text in programs]
  modules = {hlo.module_of(text) for text in programs}
  by_program: dict[str, list[Op]] = {}
  for op in work:
    by_program.setdefault(op.program, []).append(op)
  by_part: dict[str, float] = collections.defaultdict(float)
  nameless: dict[str, float] = collections.defaultdict(float)
  for ops in by_program.values():
    part_of = max(known, key=lambda names: sum(op.name in names for op in ops))
    for op in ops:
      part = part_of.get(op.name) if op.module in modules else None
      if part:
        by_part[part] += work[op]
      else:
        nameless[op.name] += work[op]
  return by_part, nameless
