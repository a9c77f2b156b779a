"""The work that all programs do: the default model, about 30 behaviours a user.

The paper's users have 32.6 behaviours in the mean (section 4.3,
https://arxiv.org/abs/1711.06505), those of the sample 12.3. Here each group
gets a history of random length drawn from all behaviours of the split; samples,
ads and labels stay. Pictures have random features: a step's time does not
depend on their values.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

import numpy as np

from benchmarks import variants
from dicm_jax import experiment
from dicm_jax.data import batch as batch_lib
from dicm_jax.data import click_log, feature_files, held_rows, sample

BEHAVIOURS = 30
"""Mean length of a history."""
FEATURES = 512
"""Numbers of a picture's features: SqueezeNet's, the quickstart's."""


def build(
  *,
  data: click_log.Dataset | None = None,
  behaviours: int = BEHAVIOURS,
  features: int = FEATURES,
  file: str = "quickstart",
  values: Mapping[str, Any] | None = None,
  devices: list[Any] | None = None,
) -> experiment.Experiment:
  """A config of ours on the work.

  Args:
    data: the samples; None: the built-in ones.
    behaviours: mean length of a history; 0 leaves the data's.
    features: F, numbers of a picture's features.
    file: of configs/.
    values: others than the file's, by dotted key.
    devices: of the mesh; None: all.
  """
  data = sample.generate(0).dataset if data is None else data
  if behaviours:
    data = with_histories(data, behaviours)
  others = {"image.backbone": feature_files.PRECOMPUTED} | dict(values or {})
  config = variants.config_of(variants.Variant(file, others), 0)
  return experiment.build(
    config, data=with_vectors(data, features), devices=devices
  )


def with_vectors(data: click_log.Dataset, width: int) -> click_log.Dataset:
  """The data set with random features of so many numbers."""
  size = (len(data.image_names), width)
  numbers = np.random.default_rng(0).normal(size=size)
  vectors = held_rows.HeldRows(numbers.astype(np.float32))
  return dataclasses.replace(data, held=lambda *_: vectors)


def with_histories(data: click_log.Dataset, mean: int) -> click_log.Dataset:
  """The data set with histories of Poisson lengths."""
  past = {f.name for f in data.features if f.past_of}
  rng = np.random.default_rng(0)

  def longer(log: click_log.ClickLog) -> click_log.ClickLog:
    lengths = rng.poisson(mean, log.num_groups)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    drawn = rng.integers(0, len(log.behaviour_images.values), offsets[-1])

    def draw(lists: click_log.Jagged) -> click_log.Jagged:
      return click_log.Jagged(lists.values[drawn], offsets)

    user_ids = {
      name: draw(lists) if name in past else lists
      for name, lists in log.user_ids.items()
    }
    return dataclasses.replace(
      log, user_ids=user_ids, behaviour_images=draw(log.behaviour_images)
    )

  return dataclasses.replace(
    data, train=longer(data.train), test=longer(data.test)
  )


def batch_of(x: experiment.Experiment, step: int) -> batch_lib.Batch:
  """A training batch, on the host."""
  return batch_lib.build(
    x.data.train,
    x.order(step),
    x.layout,
    num_devices=x.program.mesh.size,
    capacities=x.capacities,
  )


def sizes(x: experiment.Experiment, step: int = 0) -> dict[str, int]:
  """What the first batch holds, over all devices."""
  batch = batch_of(x, step)
  inputs = batch.inputs
  return {
    "samples": int(batch.weight.sum()),
    "groups": int(inputs["group"][:, -1].sum()) + len(batch.label),
    "behaviours": int(inputs["history_length"].sum()),
    "pairs": int((inputs["image_pairs"][1] < batch.label.shape[1]).sum()),
    "distinct_images": int((batch.image_rows >= 0).sum()),
    "distinct_ids": int((batch.id_rows >= 0).sum()),
  }
