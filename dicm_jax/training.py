"""What trains an experiment: batches and steps, as its config wants them."""

from collections.abc import Callable, Iterator
import functools
from typing import Any, NamedTuple

from jaxtyping import PyTree

from dicm_jax import ahead, diagnosis, experiment, host_ids, train
from dicm_jax import predict as predict_lib
from dicm_jax import task as task_lib
from dicm_jax.profiling import hlo
from dicm_jax.state import State


class Training(NamedTuple):
  """The parts of a task that depend on how its steps are made; see there."""

  batches: Callable[[int, int], Iterator[PyTree]]
  step: Callable[[State, PyTree], tuple[State, Any]]
  hlo: Callable[[Any, PyTree], str]
  is_sound: Callable[[State, PyTree], Any]
  explain: Callable[[State, PyTree, int], task_lib.Cause]
  at_rest: Callable[[State], State]


def of(x: experiment.Experiment, *, asks_ahead: bool = False) -> Training:
  """Training of an experiment.

  Args:
    x: the experiment.
    asks_ahead: whether a step asks for the next batch's rows.
  """
  train_step = train.make_train_step(x.program, x.state)
  check = predict_lib.make_check(x.program, x.state)
  made = Training(
    batches=x.batches,
    step=lambda state, batch: train_step(state, x.content, batch),
    hlo=lambda state, batch: hlo.text_of(train_step, state, x.content, batch),
    is_sound=lambda state, batch: check(state, x.content, batch),
    explain=functools.partial(diagnosis.explain, x),
    at_rest=lambda state: state,
  )
  on_host = x.layout.ids_windowed
  if not (asks_ahead or on_host):
    return made
  made = _in_pairs(made)
  if asks_ahead:
    steps = ahead.Steps(x.program, x.state, x.content)
    made = made._replace(step=steps, hlo=steps.hlo)
  return _on_host(x, made) if on_host else made


def _in_pairs(made: Training) -> Training:
  """The same, whose steps are given the next batch beside their own."""
  return Training(
    batches=lambda first, end: ahead.pairs(made.batches(first, end)),
    step=lambda state, pair: made.step(state, pair[0]),
    hlo=lambda state, pair: made.hlo(state, pair[0]),
    is_sound=lambda state, pair: made.is_sound(state, pair[0]),
    explain=lambda state, pair, step: made.explain(state, pair[0], step),
    at_rest=made.at_rest,
  )


def _on_host(x: experiment.Experiment, made: Training) -> Training:
  """The same in pairs, with ID rows on the host."""
  held = host_ids.HostIds(x.program.mesh, made.step)

  def is_sound(state: State, pair: ahead.Pair) -> bool:
    learned = made.is_sound(state, host_ids.unwindowed(pair))
    return bool(learned) and held.is_finite()

  return made._replace(
    step=held.step,
    hlo=lambda state, pair: made.hlo(state, host_ids.unwindowed(pair)),
    is_sound=is_sound,
    explain=lambda state, pair, step: made.explain(
      held.at_rest(state), pair, step
    ),
    at_rest=held.at_rest,
  )
