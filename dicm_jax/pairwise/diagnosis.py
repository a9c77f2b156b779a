"""Why a step on pairs was refused; see `dicm_jax.diagnosis`."""

import jax
from jax.sharding import PartitionSpec as P
import numpy as np

from dicm_jax import bad_input, diagnosis, task
from dicm_jax.data import click_log, pairs
from dicm_jax.pairwise.anchors import Batch
from dicm_jax.pairwise.step import Program, State, work_out
from dicm_jax.sharding import mesh as mesh_lib


def explain(
  program: Program,
  data: click_log.Dataset,
  order: pairs.Order,
  state: State,
  batch: Batch,
  step: int,
) -> task.Cause:
  """Finds out why a training step was refused; all processes must call it.

  Args:
    program: the step's fixed parts.
    data: the data set.
    order: which pairs a step takes.
    state: as the step left it.
    batch: of the step, on the devices.
    step: its number, from 1.
  """

  def on_device(state, batch):
    made = work_out(program, state, jax.tree.map(lambda x: x[0], batch))
    wrong = diagnosis.Wrong(
      *map(
        diagnosis.not_finite,
        (state, made.gradients, (made.encoder, made.slots)),
      )
    )
    return wrong, made.loss, made.losses[None]

  look = jax.shard_map(
    on_device,
    mesh=program.mesh,
    in_specs=(P(), mesh_lib.BATCH),
    out_specs=(P(), P(), mesh_lib.BATCH),
    check_vma=False,
  )
  wrong, mean, losses = jax.tree.map(
    bad_input.on_host, jax.jit(look)(state, batch)
  )
  found = [
    *diagnosis.names(wrong.state, "parameter"),
    *_pairs(data, order(step - 1), losses.reshape(-1)),
  ]
  return task.Cause(diagnosis.what(float(mean), wrong), next(iter(found), ""))


def _pairs(data: click_log.Dataset, drawn: pairs.Pairs, losses: np.ndarray):
  """Pairs whose loss is not finite."""
  wrong = np.flatnonzero(~np.isfinite(losses))
  if len(wrong):
    clicked, other = (
      data.image_names[rows[wrong[0]]] for rows in (drawn.clicked, drawn.other)
    )
    yield (
      f"{len(wrong)} of {len(losses)} pairs' losses are not finite, though "
      f"parameters are; the first: {clicked!r} clicked beside {other!r}"
    )
