"""A function of one device's slice of a batch, run on all devices."""

from collections.abc import Callable

import jax
from jaxtyping import PyTree

from dicm_jax.model import inputs as inputs_lib
from dicm_jax.program import Program
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.state import Batch, Content, State

CONTENT = Content(mesh_lib.CONTENT, mesh_lib.REPLICATED)
"""How content lies on the mesh."""


def run(program: Program, body: Callable, state_spec: State, out_specs: PyTree):
  """Runs body(program, state, content, slice of the batch) on every device."""

  def on_device(state, content, batch):
    return body(program, state, content, my_slice(batch))

  specs = (state_spec, CONTENT, mesh_lib.BATCH)
  step = everywhere(program, on_device, specs, out_specs)
  return lambda state, content, batch: step(state, *parts(content, batch))


def everywhere(
  program: Program, on_device: Callable, in_specs: PyTree, out_specs: PyTree
) -> Callable:
  """Runs a function of one device's parts of its arguments on every device."""
  return jax.shard_map(
    on_device,
    mesh=program.mesh,
    in_specs=in_specs,
    out_specs=out_specs,
    check_vma=False,
  )


def parts(content: Content, batch) -> tuple[Content, PyTree]:
  """What a batch asks, its own content or that of all batches; the rest."""
  assert batch.id_window is None, "only a state's window has these rows"
  if batch.content is not None:  # For this step alone.
    content = content._replace(table=batch.content)
  return content, batch._replace(content=None)


def mine(tree: PyTree) -> PyTree:
  """This device's part of arrays whose first axis is the device."""
  return jax.tree.map(lambda x: x[0], tree)


def for_all(tree: PyTree) -> PyTree:
  """The inverse of `mine`."""
  return jax.tree.map(lambda x: x[None], tree)


def my_slice(batch) -> Batch:
  """This device's part of a batch, whose first axis is the device."""
  part = mine(batch)

  def lists(name: str):
    return {k: inputs_lib.Lists(*v) for k, v in part.inputs[name].items()}

  inputs = part.inputs | {
    "user_ids": lists("user_ids"),
    "ad_lists": lists("ad_lists"),
    "behaviours": inputs_lib.Lists(*part.inputs["behaviours"]),
    "image_pairs": inputs_lib.Pairs(*part.inputs["image_pairs"]),
    "id_pairs": inputs_lib.Pairs(*part.inputs["id_pairs"]),
  }
  return Batch(
    part.id_rows,
    part.image_rows,
    part.label,
    part.weight,
    inputs_lib.Inputs(**inputs),
  )
