"""Spans of time that lie inside one another, as calls on a thread do."""

from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

What = TypeVar("What")
Interval = tuple[float, float]
"""Start and end, in nanoseconds."""


class Span(NamedTuple, Generic[What]):
  """Something that went on for a while."""

  start: float
  end: float
  what: What


class Nested(NamedTuple, Generic[What]):
  """A span with its place among the others of its thread."""

  span: Span[What]
  inside: What | None
  """The span right around it; None: there is none."""
  own: float
  """Its time without that of the spans in it."""


def nest(spans: Iterable[Span[What]]) -> list[Nested[What]]:
  """Finds out which spans of one thread lie in which.

  >>> outer, inner = Span(0, 10, "loop"), Span(2, 5, "body")
  >>> [(n.span.what, n.inside, n.own) for n in nest([inner, outer])]
  [('loop', None, 7), ('body', 'loop', 3)]
  """
  ordered = sorted(spans, key=lambda span: (span.start, -span.end))
  own = [span.end - span.start for span in ordered]
  inside: list[What | None] = []
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

  >>> union([(0, 2), (5, 6), (1, 3)])
  [(0, 3), (5, 6)]
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
  return sum(end - start for start, end in intervals)


def clip(intervals: Iterable[Interval], window: Interval) -> list[Interval]:
  """What of them lies in the window."""
  low, high = window
  return [
    (max(start, low), min(end, high))
    for start, end in intervals
    if start < high and end > low
  ]
