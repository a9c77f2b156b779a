"""Our step with no exchange and no shards: what a single device needs.

Flat tables, rows gathered by number, one derivative of everything, rows
scattered back. No mesh, no `shard_map`, no chunks of images.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dicm_jax import experiment, on_mesh
from dicm_jax.model import embed, loss, nets
from dicm_jax.program import Program
from dicm_jax.sharding import table


class State(NamedTuple):
  """As `dicm_jax.state.State`, the ID table [R, D]."""

  ids: jax.Array
  id_slots: optax.OptState
  dense: dict
  dense_slots: optax.OptState


def first_state(x: experiment.Experiment) -> State:
  """The experiment's first values."""
  ids = jnp.asarray(
    table.from_buckets(np.asarray(x.state.ids), x.layout.num_rows)
  )
  dense = jax.tree.map(
    lambda leaf: jnp.asarray(np.asarray(leaf)), x.state.dense
  )
  return State(
    ids, x.program.sparse.init(ids), dense, x.program.dense.init(dense)
  )


def make_step(x: experiment.Experiment):
  """Compiles (state, features [R, F], batch) -> (state, loss)."""
  program, standard = x.program, x.state.standard

  def step(state: State, features, batch):
    batch = on_mesh.my_slice(batch)
    rows = jnp.where(batch.id_rows < 0, len(state.ids), batch.id_rows)
    values = state.ids.at[rows].get(mode="fill", fill_value=0)
    images = features[batch.image_rows]

    def mean_loss(dense, values):
      scaled = embed.standardise(standard, images)
      vectors = program.embed_layers(dense["embed"])(scaled)
      net = program.net(dense["net"])
      heads = nets.heads(net, values, vectors, batch.inputs)
      losses = batch.weight * loss.of_heads(heads, batch.label)
      return losses.sum() / batch.weight.sum()

    mean, gradients = jax.value_and_grad(mean_loss, argnums=(0, 1))(
      state.dense, values
    )
    return _updated(program, state, rows, values, gradients), mean

  return jax.jit(step, donate_argnums=0)


def _updated(program: Program, state: State, rows, values, gradients) -> State:
  """Both optimisers' work, the sparse one's on the rows touched."""
  dense, of_rows = gradients
  updates, dense_slots = program.dense.update(
    dense, state.dense_slots, state.dense
  )

  def gather(leaf):
    if leaf.ndim != 2:
      return leaf
    return leaf.at[rows].get(mode="fill", fill_value=0)

  def scatter(leaf, new):
    return leaf.at[rows].set(new, mode="drop") if leaf.ndim == 2 else new

  steps, slots = program.sparse.update(
    of_rows, jax.tree.map(gather, state.id_slots), values
  )
  return State(
    scatter(state.ids, optax.apply_updates(values, steps)),
    jax.tree.map(scatter, state.id_slots, slots),
    optax.apply_updates(state.dense, updates),
    dense_slots,
  )
