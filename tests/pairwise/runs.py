"""A small pairwise run on the toy data, for tests."""

import runpy

import jax
import numpy as np

from dicm_jax import any_config, task
from dicm_jax.pairwise import config as config_lib
from dicm_jax.pairwise import task as pairwise_task
from tests import toy

SMALL = {
  "train.steps": 4,
  "train.batch_size": 16,
  "encoder.width": 6,
  "encoder.image_size": 16,
  "checkpoint.every_steps": 2,
}


def plain_steps(statistics: str) -> dict[str, str | float]:
  """Overrides for plain gradient steps.

  An adaptive optimiser makes much of gradients that rounding alone decides.
  """
  return {
    "pairs__statistics": statistics,
    "dense_optimizer__name": "sgd",
    "dense_optimizer__learning_rate": 0.05,
  }


def values(**overrides) -> config_lib.Config:
  """configs/pairwise.py, small; overrides with '__' for '.'."""
  made = runpy.run_path("configs/pairwise.py")["get_config"]().unlock()
  made.update_from_flattened_dict(
    SMALL | {key.replace("__", "."): v for key, v in overrides.items()}
  )
  found = any_config.from_dict(made.to_dict())
  assert isinstance(found, config_lib.Config)
  return found


def build(devices: int = 1, **overrides) -> task.Task:
  return pairwise_task.make(
    values(**overrides), data=toy.dataset(), devices=jax.devices()[:devices]
  )


def run(made: task.Task, steps: int):
  """Trains; returns the state and the losses."""
  state, losses = made.state, []
  for batch in made.batches(0, steps):
    state, loss = made.step(state, batch)
    losses.append(float(loss))
  return state, np.array(losses)
