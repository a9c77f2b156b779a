"""Six samples of four groups, few enough for loops over them, for tests."""

from collections.abc import Sequence

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from dicm_jax.model import nets
from dicm_jax.model.config import ModelConfig
from dicm_jax.model.inputs import Fields, Inputs, Lists, Pairs, Past

FIELDS = Fields(
  ad=("ad_id", "kind"),
  user=("user_id", "clicked", "clicked_kind"),
  ad_lists=("tags",),
  ad_dense=1,
  user_dense=2,
  past=(Past("clicked", "ad_id"), Past("clicked_kind", "kind")),
)
GROUP = np.array([0, 0, 1, 2, 3, 3])
LENGTHS = (3, 0, 5, 1)
"""Past clicks of each group; the second has none."""
TAGS = (2, 0, 1, 3, 1, 1)
NUM_ROWS = 30
NUM_IMAGES = 9
PADDING = 2
"""Entries at the end of each list that belong to nobody."""


def config(name: str, **overrides) -> ModelConfig:
  """A narrow net without pictures, unless the overrides say otherwise."""
  values = {
    "images": "none",
    "aggregator": "sum",
    "normalize": "none",
    "id_width": 4,
    "image_widths": (5,),
    "frozen_head": "whitened",
    "frozen_width": 0,
    "image_nets": "shared",
    "hidden_widths": (7, 6),
    "outputs": 1,
    "activation": "prelu",
    "output_activation": "linear",
    "structure": "product",
    "training": "joint",
  }
  return ModelConfig(name=name, **(values | overrides))


def net(given: ModelConfig, seed: int = 0) -> nets.Net:
  """The net with random parameters and statistics, none of them special."""
  rng = np.random.default_rng(seed)

  def values(x):
    scale = 1 / np.sqrt(x.shape[0]) if len(x.shape) == 2 else 0.5
    return _normal(rng, x.shape) * np.float32(scale)

  definition, params, statistics = nnx.split(
    nnx.eval_shape(
      lambda: nets.make(given, fields=FIELDS, rngs=nnx.Rngs(seed))
    ),
    nnx.Param,
    nnx.BatchStat,
  )
  # Variances are positive; a mean may be as well.
  found = jax.tree.map(lambda x: abs(values(x)), statistics)
  return nnx.merge(definition, jax.tree.map(values, params), found)


def vectors(given: ModelConfig, seed: int = 0):
  """Vectors of the distinct ID rows and of the distinct images."""
  rng = np.random.default_rng(seed)
  ids = _normal(rng, (NUM_ROWS, given.id_width))
  return ids, _normal(rng, (NUM_IMAGES, given.image_vector))


def inputs(lengths: Sequence[int] = LENGTHS, seed: int = 0) -> Inputs:
  """The samples; `lengths` are those of the groups' histories."""
  rng = np.random.default_rng(seed)
  clicked = _lists(rng, lengths)
  ones = np.ones(len(lengths), int)
  tags = _lists(rng, TAGS)
  weight = rng.random(len(tags.owner), np.float32)
  pairs = _pairs(clicked.owner)
  return Inputs(
    ad_ids={name: _rows(rng) for name in FIELDS.ad},
    ad_lists={"tags": tags._replace(weight=jnp.asarray(weight))},
    user_ids={
      "user_id": _lists(rng, ones),
      "clicked": clicked,
      "clicked_kind": _lists(rng, lengths),
    },
    ad_dense=_normal(rng, (len(GROUP), FIELDS.ad_dense)),
    user_dense=_normal(rng, (len(lengths), FIELDS.user_dense)),
    ad_image=_rows(rng, NUM_IMAGES),
    behaviours=_lists(rng, lengths, NUM_IMAGES),
    image_pairs=pairs,
    id_pairs=pairs,
    group=jnp.asarray(GROUP),
    history_length=jnp.asarray(lengths),
  )


def entries(lists: Lists, owner: int) -> list[tuple[int, float]]:
  """Row and weight of each entry of a group or sample."""
  place, owners, weight = jax.device_get(lists)
  weight = np.ones(len(place)) if weight is None else weight
  own = np.flatnonzero(owners == owner)
  return [(int(place[i]), float(weight[i])) for i in own]


def _lists(rng, lengths: Sequence[int], rows: int = NUM_ROWS) -> Lists:
  owner = np.repeat(np.arange(len(lengths)), lengths)
  owner = np.append(owner, [len(lengths)] * PADDING)
  place = rng.integers(0, rows, len(owner))
  return Lists(jnp.asarray(place), jnp.asarray(owner))


def _rows(rng, rows: int = NUM_ROWS) -> jax.Array:
  """A row for each sample."""
  return jnp.asarray(rng.integers(0, rows, len(GROUP)))


def _pairs(owner) -> Pairs:
  """Each sample with each entry of its group's history, then padding."""
  own = GROUP[:, None] == np.asarray(owner)[None]
  sample, entry = (np.append(x, [0] * PADDING) for x in np.nonzero(own))
  sample[-PADDING:] = len(GROUP)
  return Pairs(jnp.asarray(entry), jnp.asarray(sample))


def _normal(rng, shape) -> jax.Array:
  return jnp.asarray(rng.normal(size=shape).astype(np.float32))
