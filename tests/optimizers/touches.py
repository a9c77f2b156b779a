"""Batches that touch few rows, and the updates of a table by them."""

import jax
import jax.numpy as jnp
import numpy as np

from dicm_jax import optim
from dicm_jax.sharding import table

NUM_ROWS, WIDTH = 700, 5
CONFIG = {
  "learning_rate": 0.1,
  "decay_rate": 1.0,
  "decay_steps": 10,
  "clip_norm": 0.0,
}
DENSE = CONFIG | {"l2": 0.0, "momentum": 0.0, "epsilon": 0.0}
SPARSE = CONFIG | {
  "l1": 0.0,
  "l2": 0.0,
  "adaptive_l2": 0.0,
  "start_step": 0,
  "tier": "device",
}


def sparse(name: str, **overrides) -> optim.SparseConfig:
  return optim.SparseConfig(name=name, **(SPARSE | overrides))


def dense(name: str, **overrides) -> optim.DenseConfig:
  return optim.DenseConfig(name=name, **(DENSE | overrides))


def first_rows() -> np.ndarray:
  rng = np.random.default_rng(1)
  return rng.normal(size=(NUM_ROWS, WIDTH)).astype(np.float32)


def batches(steps: int):
  """Rows with repeats and the gradient of each occurrence."""
  rng = np.random.default_rng(0)
  drift = rng.normal(size=(60, WIDTH)) * rng.integers(0, 2, (60, 1)) / 2
  for _ in range(steps):
    rows = rng.integers(0, 60, 90)
    noise = rng.normal(size=(90, WIDTH))
    yield rows, (drift[rows] + noise).astype(np.float32)


def summed(rows, gradients):
  """Distinct rows, EMPTY-padded to one length, with their summed gradients."""
  distinct, index = np.unique(rows, return_inverse=True)
  total = np.zeros((67, WIDTH), np.float32)
  np.add.at(total, index, gradients)
  padded = np.full(len(total), table.EMPTY, np.int32)
  padded[: len(distinct)] = distinct
  return padded, total


def touched(steps: int):
  """The same without padding, in 64 bits, for references."""
  for rows, gradients in batches(steps):
    rows, total = summed(rows, gradients)
    keep = rows != table.EMPTY
    yield rows[keep], total[keep].astype(np.float64)


def train(optimizer, start: np.ndarray, steps: int):
  """Runs `update_rows`; returns the rows [R, D] and the slots."""
  shard = jnp.asarray(table.to_buckets(start))
  slots = optimizer.init(shard)
  update = jax.jit(lambda *args: optim.update_rows(optimizer, *args))
  for rows, gradients in batches(steps):
    rows, total = summed(rows, gradients)
    shard, slots = update(shard, slots, rows, total.astype(start.dtype))
  return table.from_buckets(np.asarray(shard), len(start)), slots
