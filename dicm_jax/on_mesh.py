"""A function of one device's slice of a batch, run on all devices."""

from collections.abc import Callable

import jax
from jaxtyping import PyTree

from dicm_jax.model import inputs as inputs_lib
from dicm_jax.program import Program
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.state import Batch, Content, State


def run(program: Program, body: Callable, state_spec: State, out_specs: PyTree):
  """Runs body(program, state, content, slice of the batch) on every device."""

  def on_device(state, content, batch):
    return body(program, state, content, slice_of(batch))

  return jax.shard_map(
    on_device,
    mesh=program.mesh,
    in_specs=(
      state_spec,
      Content(mesh_lib.CONTENT, mesh_lib.REPLICATED),
      mesh_lib.BATCH,
    ),
    out_specs=out_specs,
    check_vma=False,
  )


def slice_of(batch) -> Batch:
  """This device's part of a batch, whose first axis is the device."""
  mine = jax.tree.map(lambda x: x[0], batch)

  def lists(name: str):
    return {k: inputs_lib.Lists(*v) for k, v in mine.inputs[name].items()}

  inputs = mine.inputs | {
    "user_ids": lists("user_ids"),
    "ad_lists": lists("ad_lists"),
    "behaviours": inputs_lib.Lists(*mine.inputs["behaviours"]),
    "image_pairs": inputs_lib.Pairs(*mine.inputs["image_pairs"]),
    "id_pairs": inputs_lib.Pairs(*mine.inputs["id_pairs"]),
  }
  return Batch(
    mine.id_rows,
    mine.image_rows,
    mine.label,
    mine.weight,
    inputs_lib.Inputs(**inputs),
  )
