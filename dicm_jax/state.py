"""What a step takes and gives: the trained state, a batch, the images."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float, Int, PyTree
import optax

from dicm_jax import optim
from dicm_jax.model import embed
from dicm_jax.model import inputs as inputs_lib
from dicm_jax.sharding import mesh as mesh_lib


class State(NamedTuple):
  """All that training changes, and all that a checkpoint holds."""

  step: Int[Array, ""]
  ids: Float[Array, "buckets slots D"]
  """Stacked ID table. Where it lies on the host, see `host_ids`: NumPy's array
  of all rows, or of a step's rows alone on the devices."""
  id_slots: optax.OptState
  dense: dict[str, PyTree]
  """Parameters: `embed`, the owners' layers, and `net`, the CTR network."""
  dense_slots: optax.OptState
  standard: embed.Standard | None
  """Scaling of the frozen features, which never changes; None: of tokens."""


class Batch(NamedTuple):
  """One device's slice of a batch."""

  id_rows: Int[Array, " U"]
  """Distinct rows of the stacked ID table, EMPTY at the end."""
  image_rows: Int[Array, " V"]
  """Distinct rows of the image table, EMPTY at the end."""
  label: Float[Array, " b"]
  weight: Float[Array, " b"]
  """0 for padding, else 1."""
  inputs: inputs_lib.Inputs


class Content(NamedTuple):
  """Rows that never change: pixels with their encoder's weights, or features
  or tokens, which need none."""

  table: PyTree
  """None: a batch brings the rows that it asks for."""
  encoder: PyTree


def specs_of(state: State) -> State:
  """How each leaf of a state lies on the mesh."""

  def slot(leaf):
    by_row = optim.is_by_row(leaf, state.ids)
    return mesh_lib.BATCH if by_row else mesh_lib.REPLICATED

  specs = jax.tree.map(lambda _: mesh_lib.REPLICATED, state)
  return specs._replace(
    ids=mesh_lib.BATCH, id_slots=jax.tree.map(slot, state.id_slots)
  )


def rows_of(state: State) -> list[Any]:
  """The leaves that have something for each ID row: the table comes first."""
  slots = jax.tree.leaves(state.id_slots)
  by_row = [leaf for leaf in slots if optim.is_by_row(leaf, state.ids)]
  return [state.ids, *by_row]


def with_rows(state: State, rows: Sequence[Any]) -> State:
  """The state with other leaves in place of those of `rows_of`."""
  ids, *by_row = rows
  left = iter(by_row)

  def slot(leaf):
    return next(left) if optim.is_by_row(leaf, state.ids) else leaf

  return state._replace(ids=ids, id_slots=jax.tree.map(slot, state.id_slots))
