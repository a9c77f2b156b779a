"""How large is each net and each aggregator? Prints the tables of models.md.

python -m benchmarks.parameters

Nothing is trained or even made: shapes are enough. Fields are those of the
built-in sample, widths those of configs/quickstart.py but for what `NETS` and
`AGGREGATORS` say. Copy what it prints to docs/models.md; a test compares.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import math
import pathlib
import runpy
from typing import NamedTuple

from flax import nnx
import jax

from dicm_jax import config as config_lib
from dicm_jax import experiment
from dicm_jax.data import layout as layout_lib
from dicm_jax.data import sample
from dicm_jax.model import aggregators, backbone, embed, nets
from dicm_jax.model.behaviours import Widths
from dicm_jax.model.config import ModelConfig
from dicm_jax.model.inputs import Fields

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"


class Entry(NamedTuple):
  """What the tables say of a name."""

  what: str
  source: str
  differs: dict
  """Values other than those of configs/quickstart.py."""
  config: str = "quickstart"
  """File of configs/ that `differs` is on top of."""


PAPER = "[DICM](https://arxiv.org/abs/1711.06505)"
"""Image Matters; its sections 4.3, 4.4 and 5.4 name most of these."""

NETS = {
  "dcnv2": Entry(
    "cross layers beside an MLP",
    "[DCN V2](https://arxiv.org/abs/2008.13535), section 3",
    {},
  ),
  "dicm": Entry("an MLP over everything", f"{PAPER}, section 4", {}),
  "din": Entry(
    "attention of the ad's ids to those of past clicks",
    "[DIN](https://arxiv.org/abs/1706.06978), section 4.3",
    {},
  ),
  "ffm": Entry(
    "products of user fields and ad fields, pictures among them",
    "[FFM](https://doi.org/10.1145/2959100.2959134), section 3",
    {},
    config="ffm",
  ),
  "lr": Entry(
    "a weight an id, image vectors as numbers",
    f"{PAPER}, section 5.4",
    {"id_width": 1},
  ),
  "prerank": Entry(
    "product of an ad tower and a user tower",
    f"{PAPER}, section 4.4",
    {"aggregator": "sum"},
  ),
  "unified": Entry(
    "an LR of ids and products of stored embeddings",
    "Li and Wang's talk, JD.com",
    {},
    config="lr_unified",
  ),
}

AGGREGATORS = {
  "attentive": Entry(
    "attention with the ad's picture as query", f"{PAPER}, section 4.3", {}
  ),
  "concat": Entry(
    "the latest 32 side by side, zeros behind", f"{PAPER}, section 4.3", {}
  ),
  "max": Entry("the largest of each number", f"{PAPER}, section 4.3", {}),
  "mean": Entry("the mean vector", "the sum over its count", {}),
  "multi_query_attentive": Entry(
    "attention by the ad's picture and by its ids", f"{PAPER}, section 4.3", {}
  ),
  "simtier": Entry(
    "a histogram of cosines with the ad's picture",
    "[SimTier](https://arxiv.org/abs/2407.19467), section 4.1",
    {"frozen_width": 64},
  ),
  "sum": Entry("the sum of the vectors", f"{PAPER}, section 4.3", {}),
  "target_attention": Entry(
    "scaled dot products in 4 heads, with recency",
    "[Transformer](https://arxiv.org/abs/1706.03762), section 3.2",
    {},
  ),
}


def main() -> None:
  print(nets_table())
  print()
  print(aggregators_table())


def nets_table() -> str:
  """One line a net; pictures of ad and behaviours are on."""
  layout, fields = _of_sample()
  squeezenet, vgg16 = map(_feature_width, ("squeezenet", "vgg16"))
  head = (
    "`model.name`",
    "what it is",
    "source",
    "dense",
    "ID rows x width",
    f"image layers, {squeezenet} features",
    f"{vgg16} features",
  )
  rows = []
  for name, entry in NETS.items():
    config = model_config(name, entry)
    rows.append(
      (
        f"`{name}`",
        entry.what,
        entry.source,
        _thousands(of_net(config, fields)),
        f"{_thousands(layout.num_rows)} x {config.id_width}",
        _thousands(of_image_layers(config, squeezenet)),
        _thousands(of_image_layers(config, vgg16)),
      )
    )
  return _markdown(head, rows, numbers=4)


def aggregators_table() -> str:
  """One line an aggregator of behaviour images, its own parameters alone."""
  _, fields = _of_sample()
  head = ("`model.aggregator`", "what it gives", "source", "dense", "width")
  rows = []
  for name, entry in AGGREGATORS.items():
    config = model_config("dicm", entry)
    made = aggregator(dataclasses.replace(config, aggregator=name), fields)
    size, width = _thousands(count(made)), str(made.width)
    rows.append((f"`{name}`", entry.what, entry.source, size, width))
  return _markdown(head, rows, numbers=2)


def model_config(name: str, entry: Entry) -> ModelConfig:
  """The config of a net with an entry's values."""
  return dataclasses.replace(_base(entry.config), name=name, **entry.differs)


@functools.cache
def _base(name: str) -> ModelConfig:
  values = runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"]()
  return config_lib.from_dict(values.to_dict()).model


@functools.cache
def _of_sample() -> tuple[layout_lib.Layout, Fields]:
  """Rows and fields of the built-in sample."""
  data = sample.generate(seed=0).dataset
  layout = layout_lib.Layout(
    features=data.features, ad_images=True, behaviour_images=True
  )
  return layout, experiment.fields_of(layout, data.train)


def of_net(config: ModelConfig, fields: Fields) -> int:
  """Dense parameters of a net, its aggregator's among them."""
  return count(
    _shapes(lambda rngs: nets.make(config, fields=fields, rngs=rngs))
  )


def of_image_layers(config: ModelConfig, features: int) -> int:
  """Parameters that turn frozen features into an image's vector."""
  return count(
    _shapes(lambda rngs: embed.image_layers(features, config, rngs=rngs))
  )


def aggregator(config: ModelConfig, fields: Fields) -> nnx.Module:
  """The aggregator that a config names, without values."""
  of_ads = fields.ad_width(config.id_width)
  widths = Widths(config.image_width, config.frozen_width, of_ads)
  return _shapes(
    lambda rngs: aggregators.make(
      config.aggregator, widths, normalize=config.normalize, rngs=rngs
    )
  )


def _shapes(make: Callable[[nnx.Rngs], nnx.Module]) -> nnx.Module:
  return nnx.eval_shape(lambda: make(nnx.Rngs(0)))


def count(module: nnx.Module) -> int:
  """Numbers that training changes."""
  params = jax.tree.leaves(nnx.state(module, nnx.Param))
  return sum(math.prod(leaf.shape) for leaf in params)


def _feature_width(name: str) -> int:
  """F of a backbone at its own image size and cut."""
  spec = backbone.BACKBONES[name]
  return spec.cuts[spec.default_cut].width(spec.image_size)


def _thousands(number: int) -> str:
  return f"{number:,}".replace(",", " ")


def _markdown(
  head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: int
) -> str:
  """A table whose last `numbers` columns are set flush right."""
  rule = ["---"] * (len(head) - numbers) + ["---:"] * numbers
  lines = (f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))
  return "\n".join(lines)


if __name__ == "__main__":
  main()
