"""Predictions on a mesh, and the check that a state makes usable ones."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float

from dicm_jax import on_mesh, owners
from dicm_jax import state as state_lib
from dicm_jax.model import inputs as inputs_lib
from dicm_jax.model import nets
from dicm_jax.program import Program
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.state import Batch, Content, State

Read = Callable[[nets.Net, Array, Array, inputs_lib.Inputs], Array]
"""(net, id vectors, image vectors, inputs) -> something of each sample."""


def click_probability(
  net: nets.Net,
  ids: Float[Array, "U D"],
  images: Float[Array, "V E"],
  inputs: inputs_lib.Inputs,
) -> Float[Array, " b"]:
  """Probability of a click for each sample."""
  return jax.nn.sigmoid(net(ids, images, inputs))


def predict_on_device(
  program: Program, state: State, content: Content, batch: Batch, read: Read
) -> Float[Array, "b ..."]:
  """What `read` makes of each sample of one device; nothing is learned."""
  asked = owners.ask(program, content, batch)
  served = owners.answer(program, state, content, asked)
  net = program.net(state.dense["net"])
  net.eval()
  return read(net, served.id_vectors, served.image_vectors, batch.inputs)


def is_sound_on_device(
  program: Program, state: State, content: Content, batch: Batch
) -> Bool[Array, ""]:
  """Whether a state and what it makes of a batch are finite, on all devices."""
  made = predict_on_device(program, state, content, batch, click_probability)
  leaves = jax.tree.leaves((state, made))
  finite = jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()
  return mesh_lib.total((~finite).astype(jnp.int32), "check") == 0


def make_predict_step(
  program: Program, state: State, read: Read = click_probability
) -> jax.stages.Wrapped:
  """Compiles (state, content, batch) -> [N, b, ...], what `read` returns."""

  def predict(program, state, content, batch):
    return predict_on_device(program, state, content, batch, read)[None]

  specs = state_lib.specs_of(state)
  return jax.jit(on_mesh.run(program, predict, specs, mesh_lib.BATCH))


def make_check(program: Program, state: State) -> jax.stages.Wrapped:
  """Compiles (state, content, batch) -> whether the state is of any use.

  Finite numbers are not enough: large ones overflow in the next step alone.
  """
  specs = state_lib.specs_of(state)
  return jax.jit(on_mesh.run(program, is_sound_on_device, specs, P()))
