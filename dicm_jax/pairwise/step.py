"""One step on pairs: an anchor, a clicked item and another one, one loss.

Data parallel: every device takes a slice of the pairs, and gradients are summed
over all. Clicked and other items go through one network together, so that they
share batch normalisation's statistics, as the talk wants it.
"""

from collections.abc import Callable
import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int, PyTree
import optax

from dicm_jax import guard
from dicm_jax.model import nets, pairwise
from dicm_jax.pairwise.anchors import Batch, Embedded
from dicm_jax.profiling import parts
from dicm_jax.sharding import mesh as mesh_lib


class State(NamedTuple):
  """All that training changes, and all that a checkpoint holds."""

  step: Int[Array, ""]
  encoder: PyTree
  """Parameters and running averages, see `anchors.Anchors.params`."""
  slots: optax.OptState


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Program:
  """What a step needs to know besides arrays."""

  mesh: Mesh
  embed: Callable[[PyTree, Batch], tuple[Embedded, PyTree]]
  """See `anchors.Anchors.embed`."""
  loss: Callable[[Float[Array, " n"]], Float[Array, " n"]]
  dense: optax.GradientTransformation


class Worked(NamedTuple):
  """What a step comes to before it is written; sums over all devices."""

  loss: Float[Array, ""]
  """Mean over all pairs."""
  losses: Float[Array, " b"]
  """Of this device's pairs."""
  gradients: PyTree
  encoder: PyTree
  slots: optax.OptState


def train_on_device(
  program: Program, state: State, batch: Batch
) -> tuple[State, Float[Array, ""]]:
  """One device's part of a step; returns the new state and the mean loss.

  A step with a number out of bounds changes nothing, and its loss is not
  finite; see `guard`.
  """
  made = work_out(program, state, batch)
  with jax.named_scope(parts.DENSE_UPDATE):
    # All devices have the same of these, so that they all find the same.
    sums = made.loss, made.gradients, made.encoder, made.slots
    ok = guard.goes_on(state.step) & guard.is_finite(sums)
    encoder, slots = guard.kept(
      ok, (made.encoder, made.slots), (state.encoder, state.slots)
    )
  new = State(guard.number(ok, state.step), encoder, slots)
  return new, guard.reported(ok, made.loss)


def work_out(program: Program, state: State, batch: Batch) -> Worked:
  """A step of which nothing is written yet."""

  def mean_loss(params):
    (anchor, clicked, other), statistics = program.embed(params, batch)
    lead = pairwise.score(anchor, clicked) - pairwise.score(anchor, other)
    losses = program.loss(lead)
    return losses.mean() / program.mesh.size, (losses, statistics)

  with jax.named_scope(parts.LAYERS):
    (mean, (losses, statistics)), gradients = jax.value_and_grad(
      mean_loss, has_aux=True
    )(state.encoder)
    mean = mesh_lib.total(mean, "loss")
  with jax.named_scope(parts.DENSE_UPDATE):
    gradients = mesh_lib.total(gradients, "dense.gradients")
    updates, slots = program.dense.update(gradients, state.slots, state.encoder)
    encoder: PyTree = optax.apply_updates(state.encoder, updates)
  encoder = nets.with_statistics(encoder, statistics)
  return Worked(mean, losses, gradients, encoder, slots)


def make_train_step(program: Program) -> jax.stages.Wrapped:
  """Compiles (state, batch) -> (state, loss); donates the state."""

  def on_device(state, batch):
    mine = jax.tree.map(lambda x: x[0], batch)
    return train_on_device(program, state, mine)

  step = jax.shard_map(
    on_device,
    mesh=program.mesh,
    in_specs=(P(), mesh_lib.BATCH),
    out_specs=(P(), P()),
    check_vma=False,
  )
  return jax.jit(step, donate_argnums=0)


def make_check(program: Program) -> jax.stages.Wrapped:
  """Compiles state -> whether all of it is finite, and what it makes too."""

  def is_sound(state: State) -> Bool[Array, ""]:
    leaves = jax.tree.leaves(state)
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()

  return jax.jit(is_sound)
