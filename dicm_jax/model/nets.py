"""The base nets by name; each with and without images by `model.images`."""

from collections.abc import Callable

from flax import nnx

from dicm_jax import errors
from dicm_jax.model import dcnv2, dicm, din, ffm, layers, lr, pooling, prerank
from dicm_jax.model.config import ModelConfig
from dicm_jax.model.inputs import Fields

Net = dcnv2.DCNv2 | dicm.DICM | din.DIN | ffm.FFM | lr.LR | prerank.PreRank

NETS: dict[str, Callable[..., Net]] = {
  "dcnv2": dcnv2.DCNv2,
  "dicm": dicm.DICM,  # Embedding&MLP.
  "din": din.DIN,
  "ffm": ffm.FFM,
  "lr": lr.LR,
  "prerank": prerank.PreRank,
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
