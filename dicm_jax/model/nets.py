"""The base nets by name; each with and without images by `model.images`."""

from collections.abc import Callable

from flax import nnx
from jaxtyping import Array, Float

from dicm_jax import errors
from dicm_jax.model import (
  dcnv2,
  dicm,
  din,
  ffm,
  layers,
  lr,
  pooling,
  prerank,
  unified,
)
from dicm_jax.model.config import ModelConfig
from dicm_jax.model.inputs import Fields, Inputs

Net = (
  dcnv2.DCNv2
  | dicm.DICM
  | din.DIN
  | ffm.FFM
  | lr.LR
  | prerank.PreRank
  | unified.Unified
)

NETS: dict[str, Callable[..., Net]] = {
  "dcnv2": dcnv2.DCNv2,
  "dicm": dicm.DICM,  # Embedding&MLP.
  "din": din.DIN,
  "ffm": ffm.FFM,
  "lr": lr.LR,
  "prerank": prerank.PreRank,
  "unified": unified.Unified,
}


def check(config: ModelConfig) -> None:
  """Refuses a config that its net cannot use.

  Raises:
    InputError: no such net, or a value that does not go with it.
  """
  if config.name not in NETS:
    raise errors.unknown_name("model.name", config.name, NETS)
  if config.name == "dcnv2" and not config.hidden_widths:
    raise errors.InputError(
      "model.hidden_widths: expected at least one width with "
      "model.name='dcnv2', found none"
    )
  _check_images(config)
  if config.name != "dicm" and config.output_activation != "linear":
    raise errors.InputError(
      "model.output_activation: expected linear unless model.name='dicm', "
      f"found {config.output_activation!r}"
    )
  if config.name == "prerank" and config.aggregator not in pooling.JOINS:
    raise errors.InputError(
      f"model.aggregator: expected one of {', '.join(pooling.JOINS)} with "
      "model.name='prerank', whose user tower sees no ad; found "
      f"{config.aggregator!r}"
    )


def _check_images(config: ModelConfig) -> None:
  """Refuses pictures of which the net would see nothing, or half a pair."""
  if config.name == "unified" and config.images not in ("both", "none"):
    raise errors.InputError(
      "model.images: expected both or none with model.name='unified', which "
      "compares the ad's picture with the behaviours'; found "
      f"{config.images!r}"
    )
  reads_head = config.name == "unified" or config.aggregator == "simtier"
  if config.images != "none" and not config.image_widths and not reads_head:
    raise errors.InputError(
      "model.image_widths: expected at least one width unless "
      "model.name='unified' or model.aggregator='simtier', which read the "
      "frozen head; found none"
    )


def make(
  config: ModelConfig,
  *,
  fields: Fields,
  total: layers.Total = layers.alone,
  rngs: nnx.Rngs,
) -> Net:
  """Builds the net that a config names.

  Args:
    config: its shape.
    fields: what samples consist of.
    total: sums over the devices that share a batch.
    rngs: stream of the initial weights.

  Raises:
    InputError: as `check`, or the data lack what the net needs.
  """
  check(config)
  if config.name == "din" and not fields.past:
    raise errors.InputError(
      "model.name='din' attends to the ids of past clicks; expected a feature "
      "with history = true, found none in the data set"
    )
  return NETS[config.name](config, fields=fields, total=total, rngs=rngs)


def heads(
  net: Net,
  ids: Float[Array, "U D"],
  images: Float[Array, "V E"],
  inputs: Inputs,
) -> list[Float[Array, " b"]]:
  """The logits that learn from the labels; the first is the prediction.

  One but for a net whose parts learn apart. Arguments as DICM's.
  """
  if isinstance(net, unified.Unified):
    return net.heads(ids, images, inputs)
  return [net(ids, images, inputs)]


def first_stddev(config: ModelConfig) -> float:
  """Standard deviation of the ID rows' first values."""
  # The unified net's rows are weights, which an L1 penalty is to keep at 0.
  return 0.0 if config.name == "unified" else 0.05


def statistics(net: nnx.Module) -> dict:
  """What the last call learned of its batch (Dice), as nested dicts."""
  return nnx.to_pure_dict(nnx.state(net, nnx.BatchStat))


def with_statistics(params: dict, found: dict) -> dict:
  """Parameters of a net with its statistics replaced."""
  return params | {
    key: with_statistics(params[key], value)
    if isinstance(value, dict)
    else value
    for key, value in found.items()
  }


def attends_to_ids(config: ModelConfig) -> bool:
  """Whether the net needs the pairs of samples and past clicks."""
  return config.name == "din"
