"""Instructions on a CPU's threads, with what they handed to the thread pool.

XLA runs an instruction on one thread, which the trace shows. Some cut their
work and hand pieces to a pool, at times all of it: the instruction's event is
over before its work is. Such a piece is a nameless region on another thread;
a number joins it with the moment when it was handed over.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from dicm_jax.profiling import spans

_HANDED, _START, _STOP = (
  f"ThreadpoolListener::{name}"
  for name in ("Record", "StartRegion", "StopRegion")
)
_SENT_AS, _CAME_AS = "_p", "_c"
"""Stats that hold the number of a piece, where handed over and where begun."""
_LONGEST_CHAIN = 100


class _Piece(NamedTuple):
  """A region that began a piece of work."""

  number: Any


class _Handed(NamedTuple):
  """The moment when a piece of work was handed to the pool."""

  number: Any


def ran(
  threads: Sequence[Sequence[Any]], op_of: Callable[[Any], Any]
) -> list[spans.Nested]:
  """The instructions that ran, and their pieces under their names.

  Args:
    threads: each one's events.
    op_of: the instruction that an event is; None: it is none.
  """
  nested = [
    each for events in threads for each in spans.nest(_spans(events, op_of))
  ]
  handed_in = {
    each.span.what.number: each.inside
    for each in nested
    if isinstance(each.span.what, _Handed) and each.span.what.number
  }
  out = []
  for each in nested:
    op = _owner(each.span.what, handed_in)
    if op is not None:
      out.append(each._replace(span=each.span._replace(what=op)))
  return out


def _spans(events, op_of) -> Iterable[spans.Span]:
  """An event's span where it is an instruction or of the pool."""
  began = []  # A thread that waits for its pieces may run another's.
  for event in sorted(events, key=lambda event: event.start_ns):
    start, end = event.start_ns, event.start_ns + event.duration_ns
    if event.name == _START:
      began.append((start, _Piece(dict(event.stats).get(_CAME_AS))))
    elif event.name == _STOP:
      if began:
        since, piece = began.pop()
        yield spans.Span(since, start, piece)
    elif event.name == _HANDED:
      number = dict(event.stats).get(_SENT_AS)
      yield spans.Span(start, start, _Handed(number))
    elif (op := op_of(event)) is not None:
      yield spans.Span(start, end, op)


def _owner(what, handed_in: dict[Any, Any]):
  """The instruction whose work it is: a piece may hand over more pieces."""
  for _ in range(_LONGEST_CHAIN):
    if not isinstance(what, _Piece):
      break
    what = handed_in.get(what.number)
  return None if isinstance(what, (_Piece, _Handed)) else what
