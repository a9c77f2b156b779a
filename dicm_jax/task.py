"""What the loop sees of a run, whatever it trains."""

from collections.abc import Callable, Iterator, Mapping
import pathlib
from typing import Any, NamedTuple

from jaxtyping import PyTree

Figures = dict[str, float | int | str | None]


class Cause(NamedTuple):
  """Where numbers went out of bounds, in words."""

  what: str
  """Which value of the step."""
  where: str = ""
  """What is known of its origin; empty: nothing."""
  in_data: bool = False
  """Whether the data are to blame, and not what was learned from them."""


class Task(NamedTuple):
  """Something to train; the loop restores, steps, saves and reports."""

  state: Any
  """The first state; its `step` counts."""
  batches: Callable[[int, int], Iterator[PyTree]]
  """(first step, end step) -> the batches of steps in between, from 0."""
  step: Callable[[Any, PyTree], tuple[Any, Any]]
  """(state, batch) -> (new state, loss); the state is given away."""
  hlo: Callable[[Any, PyTree], str]
  """(state, batch), or their shapes -> the compiled step's text."""
  is_sound: Callable[[Any, PyTree], Any]
  """(state of a step, its batch) -> whether the state is of any use."""
  explain: Callable[[Any, PyTree, int], Cause]
  """(state that a refused step left, its batch, its number) -> why it was."""
  finish: Callable[[Any, pathlib.Path | None], Figures]
  """(last state, folder) -> the figures of eval.json; writes reports into the
  folder where there is one: of several processes one writes."""
  batch_size: int
  inputs: Mapping[str, str]
  """Digests of what the run reads, by the config key that names it."""
  meaning: Mapping[str, Any]
  """What the numbers of the state speak of, kept beside them."""
  about: tuple[str, ...]
  """Lines that tell the reader of the log what runs where."""
  at_rest: Callable[[Any], Any] = lambda state: state
  """State of a step -> what is saved, and finished: like the first state."""
  host_batch: Callable[[int], PyTree] | None = None
  """Step -> its batch, made in this thread; None: nothing in it is deduped."""
  keep_first: bool = False
  """Whether the first state is saved: it comes from elsewhere."""
