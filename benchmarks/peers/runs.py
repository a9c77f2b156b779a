"""Programs that take turns: each runs a step on the same samples, timed."""

from collections.abc import Callable
import time
from typing import Any

import jax
import numpy as np

from benchmarks.peers import workload
from dicm_jax import experiment, train
from dicm_jax.data import batch as batch_lib
from dicm_jax.sharding import mesh as mesh_lib

Prepare = Callable[[experiment.Experiment, batch_lib.Batch], Any]


class Run:
  """A program that times its own steps.

  Args:
    x: whose batches it takes.
    prepare: what it makes of a batch ahead of the step.
    step: a batch so prepared -> loss, of a step that is done.
  """

  def __init__(
    self,
    x: experiment.Experiment,
    prepare: Prepare,
    step: Callable[[Any], float],
  ):
    self.x, self.prepare, self.step = x, prepare, step
    self.losses: list[float] = []

  def seconds(self, step: int) -> float:
    """Runs a step; making the batch does not count."""
    batch = self.prepare(self.x, workload.batch_of(self.x, step))
    start = time.perf_counter()
    self.losses.append(self.step(batch))
    return time.perf_counter() - start


def of_jax(
  x: experiment.Experiment,
  compiled: Callable,
  state: Any,
  *fixed: Any,
  prepare: Prepare = lambda x, batch: batch,
) -> Run:
  """The run of a compiled (state, *fixed, batch) -> (state, loss).

  Args:
    x: whose batches it takes.
    compiled: the step; the state is given away.
    state: the first one, of which a copy is taken.
    *fixed: arguments that stay.
    prepare: what it makes of a batch before that is laid over the mesh.
  """
  held = [jax.tree.map(lambda leaf: leaf.copy(), state)]

  def place(x, batch):
    made = mesh_lib.put_slices(x.program.mesh, prepare(x, batch))
    return jax.block_until_ready(made)

  def step(batch) -> float:
    held[0], loss = compiled(held[0], *fixed, batch)
    jax.block_until_ready(held[0])
    return float(loss)

  return Run(x, place, step)


def ours(x: experiment.Experiment) -> Run:
  """The run of our own step, from the experiment's first state."""
  step = train.make_train_step(x.program, x.state)
  return of_jax(x, step, x.state, x.content)


def quartiles(values: np.ndarray) -> list[float]:
  """First quartile, median and third."""
  return np.percentile(values, (25, 50, 75)).tolist()
