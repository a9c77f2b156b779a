"""A CTR network as an artifact of `jax.export`, for batches of any size."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dicm_jax import state as state_lib
from dicm_jax.model import chunks
from dicm_jax.model import inputs as inputs_lib
from dicm_jax.program import Program
from dicm_jax.serving import net_inputs

PLATFORMS = ("cpu", "cuda", "tpu")

_MOST_PAIRS = chunks.OTHER_ROWS
"""(sample, behaviour) pairs of a call: so many are weighed in one piece."""


def serialised(
  program: Program,
  state: state_lib.State,
  specs: Mapping[str, net_inputs.Spec],
) -> bytes:
  """The network with its parameters, as a flatbuffer.

  Args:
    program: of the run.
    state: its parameters.
    specs: the inputs, see `net_inputs.specs`.

  Returns:
    What `jax.export.deserialize` makes a function of: a dict of arrays in,
    the probability of each sample out.
  """
  params = jax.device_get(state.dense["net"])

  def score(inputs: dict[str, Array]) -> Float[Array, " samples"]:
    net = program.net(jax.tree.map(jnp.asarray, params))
    net.eval()
    ids = inputs[net_inputs.ID_VECTORS]
    images = inputs[net_inputs.IMAGE_VECTORS]
    return jax.nn.sigmoid(net(ids, images, _inputs(inputs)))

  # Chunks of pairs need a number of them that is known when it is compiled.
  with chunks.planned_for("gpu"):
    made = jax.export.export(jax.jit(score), platforms=PLATFORMS)(
      _shapes(specs)
    )
  return bytes(made.serialize())


def _shapes(specs: Mapping[str, net_inputs.Spec]):
  scope = jax.export.SymbolicScope([f"image_pairs <= {_MOST_PAIRS}"])
  return {
    name: jax.ShapeDtypeStruct(
      jax.export.symbolic_shape(_text(spec.shape), scope=scope), spec.dtype
    )
    for name, spec in specs.items()
  }


def _text(shape: tuple[str | int, ...]) -> str:
  """A shape as jax.export reads it.

  >>> _text(("samples", 3)), _text(("samples",))
  ('samples,3,', 'samples,')
  """
  return "".join(f"{size}," for size in shape)


def _inputs(named: Mapping[str, Array]) -> inputs_lib.Inputs:
  """What networks read, from inputs by name."""

  def fields(side: str) -> list[str]:
    begin, end = f"{side}.", ".place"
    return [
      name[len(begin) : -len(end)]
      for name in named
      if name.startswith(begin) and name.endswith(end)
    ]

  def lists(at: str) -> inputs_lib.Lists:
    return inputs_lib.Lists(
      named[f"{at}.place"], named[f"{at}.owner"], named.get(f"{at}.weight")
    )

  def pairs(at: str) -> inputs_lib.Pairs:
    return inputs_lib.Pairs(named[f"{at}.entry"], named[f"{at}.sample"])

  return inputs_lib.Inputs(
    ad_ids={
      name.removeprefix("ad_ids."): value
      for name, value in named.items()
      if name.startswith("ad_ids.")
    },
    ad_lists={name: lists(f"ad_lists.{name}") for name in fields("ad_lists")},
    user_ids={name: lists(f"user_ids.{name}") for name in fields("user_ids")},
    ad_dense=named["ad_dense"],
    user_dense=named["user_dense"],
    ad_image=named["ad_image"],
    behaviours=lists("behaviours"),
    image_pairs=pairs("image_pairs"),
    id_pairs=pairs("id_pairs"),
    group=named["group"],
    history_length=named["history_length"],
  )
