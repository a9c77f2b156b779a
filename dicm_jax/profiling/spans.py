"""Spans of time that lie inside one another, as calls on a thread do."""

from collections.abc import Iterable
import math
from typing import Any, NamedTuple

Interval = tuple[float, float]
"""Start and end, in nanoseconds."""


class Span(NamedTuple):
  """Something that went on for a while."""

  start: float
  end: float
  what: Any


class Nested(NamedTuple):
  """A span with its place among the others of its thread."""

  span: Span
  inside: Any
  """The span right around it; None: there is none."""
  own: float
  """Its time without that of the spans in it."""


def nest(spans: Iterable[Span]) -> list[Nested]:
  """Finds out which spans of one thread lie in which.

  >>> outer, inner = Span(0.0, 9.0, "loop"), Span(2.0, 5.0, "body")
  >>> [(n.span.what, n.inside, n.own) for n in nest([inner, outer])]
  [('loop', None, 6.0), ('body', 'loop', 3.0)]
  """
  ordered = sorted(spans, key=lambda span: (span.start, -span.end))
  own = [span.end - span.start for span in ordered]
  inside = []
  around: list[int] = []  # Indices of the spans that are not over yet.
  for i, span in enumerate(ordered):
    while around and ordered[around[-1]].end <= span.start:
      around.pop()
    inside.append(ordered[around[-1]].what if around else None)
    if around:  # What sticks out, by rounding, is not the outer's.
      outer = around[-1]
      own[outer] -= min(span.end, ordered[outer].end) - span.start
    around.append(i)
  return [Nested(*each) for each in zip(ordered, inside, own, strict=True)]


def union(intervals: Iterable[Interval]) -> list[Interval]:
  """The time in which at least one of them runs.

  >>> union([(0.0, 2.0), (5.0, 6.0), (1.0, 3.0)])
  [(0.0, 3.0), (5.0, 6.0)]
  """
  joined: list[Interval] = []
  for start, end in sorted(intervals):
    if joined and start <= joined[-1][1]:
      joined[-1] = joined[-1][0], max(end, joined[-1][1])
    else:
      joined.append((start, end))
  return joined


def total(intervals: Iterable[Interval]) -> float:
  """Nanoseconds in all of them."""
  return math.fsum(end - start for start, end in intervals)


def clip(intervals: Iterable[Interval], window: Interval) -> list[Interval]:
  """What of them lies in the window."""
  low, high = window
  return [
    (max(start, low), min(end, high))
    for start, end in intervals
    if start < high and end > low
  ]
