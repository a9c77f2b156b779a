"""Toy users who search for a colour and click what has it, for tests."""

import dataclasses

import jax
import numpy as np

from dicm_jax import task
from dicm_jax.data import click_log, images
from dicm_jax.pairwise import task as pairwise_task
from tests import toy
from tests.pairwise import runs

QUERIES = ("something red", "green things", "blue")
"""The colour channels, in their order."""


def dataset() -> click_log.Dataset:
  """The toy data; every fifth page view has no query."""
  data = toy.dataset()
  rng = np.random.default_rng(1)
  return dataclasses.replace(
    data,
    train=_searched(data, data.train, rng),
    test=_searched(data, data.test, rng),
    queries=QUERIES,
  )


def colours() -> np.ndarray:
  """How much of each channel a picture has beside the others, [R, 3]."""
  data = toy.dataset()
  squares = images.decode_all(data.image_bytes, data.image_names, 16)
  mean = squares.mean(axis=(1, 2))
  return mean - mean.mean(axis=1, keepdims=True)


def _searched(data, log: click_log.ClickLog, rng) -> click_log.ClickLog:
  query = rng.integers(0, len(QUERIES), log.num_groups)
  lead = colours()[log.ad_image, query[log.group]]
  probability = 1 / (1 + np.exp(-lead / 15))
  return dataclasses.replace(
    log,
    query=np.where(np.arange(log.num_groups) % 5 == 4, -1, query),
    label=(rng.random(len(lead)) < probability).astype(np.float32),
    true_probability=probability,
  )


def build(devices: int = 1, **overrides) -> task.Task:
  """A run with queries as anchors."""
  return pairwise_task.make(
    runs.values(**({"pairs__anchor": "query"} | overrides)),
    data=dataset(),
    devices=jax.devices()[:devices],
  )
