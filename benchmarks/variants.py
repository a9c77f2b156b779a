"""The variants that the paper compares, as changes of configs/quickstart.py.

Each is trained on the built-in sample, whose clicks are SIMULATED; a seed draws
the simulated world as well as the first weights.
"""

from collections.abc import Mapping
import dataclasses
import pathlib
import runpy
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import ceiling
from dicm_jax import config as config_lib
from dicm_jax import evaluate, experiment, train, warm_up
from dicm_jax import state as state_lib
from dicm_jax.data import click_log, sample, selection

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
Scores = dict[str, float]


class Variant(NamedTuple):
  """A config file with other values."""

  file: str = "quickstart"
  values: Mapping[str, Any] = {}
  """By dotted key."""


SHORT = {"train.steps": 300, "dense_optimizer.decay_steps": 100}
"""Half of what the config files say, 6 passes over the training split: a
comparison takes some 25 runs a seed."""


def _images(file: str, images: str) -> Variant:
  short = {} if file == "ffm" else SHORT
  return Variant(file, {"model.images": images} | short)


def _aggregator(name: str, frozen_width: int = 0) -> Variant:
  values = {"model.aggregator": name, "model.frozen_width": frozen_width}
  return Variant(values=values | SHORT)


VARIANTS: dict[str, Variant] = {
  "quickstart, ids only": Variant(values={"model.images": "none"}),
  "mlp, ids only": _images("quickstart", "none"),
  "mlp + ad image": _images("quickstart", "ad"),
  "mlp + behaviour images": _images("quickstart", "behaviour"),
  "mlp + both": _images("quickstart", "both"),
  "concat": _aggregator("concat"),
  "max": _aggregator("max"),
  "mean": _aggregator("mean"),
  "sum": _aggregator("sum"),
  "attentive": _aggregator("attentive"),
  "simtier": _aggregator("simtier", 64),
  "target attention": _aggregator("target_attention", 64),
  "lr, ids only": _images("lr", "none"),
  "lr + both": _images("lr", "both"),
  "din, ids only": _images("din", "none"),
  "din + both": _images("din", "both"),
  "dcnv2, ids only": _images("dcnv2", "none"),
  "dcnv2 + both": _images("dcnv2", "both"),
  "pre-rank, ids only": _images("prerank", "none"),
  "pre-rank + both": _images("prerank", "both"),
  "ffm, ids only": _images("ffm", "none"),
  "ffm + both": _images("ffm", "both"),
}
WARM_UPS = ("none", "partial", "full")
FIRST_DAYS = 18
"""Of the 19 days of training: what the run before a warm-up has seen. The run
itself begins a day later and ends a day later, as a daily model would."""


def config_of(variant: Variant, seed: int) -> config_lib.Config:
  """The config of a variant."""
  return config_lib.from_dict(values_of(variant, seed))


def values_of(variant: Variant, seed: int) -> dict[str, Any]:
  """What the config file of a variant says, with the variant's values."""
  path = CONFIGS / f"{variant.file}.py"
  tree = runpy.run_path(str(path))["get_config"]().to_dict()
  for key, value in variant.values.items():
    *sections, last = key.split(".")
    section = tree
    for name in sections:
      section = section[name]
    section[last] = value
  return tree | {"seed": seed}


def trained(
  x: experiment.Experiment, config: config_lib.Config
) -> state_lib.State:
  """The state after all steps of the config."""
  step, state = train.make_train_step(x.program, x.state), x.state
  for batch in x.batches(0, config.train.steps):
    state, loss = step(state, x.content, batch)
    jax.block_until_ready(loss)
  return state


def score(variant: Variant, seed: int, data: click_log.Dataset) -> Scores:
  """AUC and GAUC of the test split after training."""
  config = config_of(variant, seed)
  x = experiment.build(config, data=data)
  return _scores(x, trained(x, config))


def warm_up_scores(
  seed: int, world: sample.Sample, first: Mapping[str, Any] = SHORT
) -> dict[str, Scores]:
  """Scores of a short run started from another one's end, by warm-up mode.

  Args:
    seed: of the first weights.
    world: the sample.
    first: by dotted key, values of the run that is started from.
  """
  config = config_of(Variant(values=SHORT), seed)
  days = world.truth.train_day
  before = _of_groups(world.dataset, days < FIRST_DAYS)
  earlier = config_of(Variant(values=first), seed)
  end = trained(experiment.build(earlier, data=before), earlier)
  # Cold are the pictures that neither run has seen, hence the whole split.
  now = _of_groups(world.dataset, days > 0)
  out = {}
  for mode in WARM_UPS:
    x = experiment.build(config, data=now)
    parts = warm_up.PARTS.get(mode, ())
    # Copies: training gives the arrays of its first state away.
    taken = {name: getattr(end, name) for name in parts}
    taken = jax.tree.map(np.asarray, taken)
    placed = {
      name: jax.tree.map(
        lambda new, old: jax.device_put(new, old.sharding),
        value,
        getattr(x.state, name),
      )
      for name, value in taken.items()
    }
    x = dataclasses.replace(x, state=x.state._replace(**placed))
    state = trained(x, config)
    out[mode] = ceiling.scores(
      world.dataset, evaluate.predict(x, state, world.dataset.test)
    )
  return out


def _of_groups(data: click_log.Dataset, keep) -> click_log.Dataset:
  return dataclasses.replace(data, train=selection.groups(data.train, keep))


def _scores(x: experiment.Experiment, state: state_lib.State) -> Scores:
  return ceiling.scores(x.data, evaluate.predict(x, state, x.data.test))
