"""DICM in plain PyTorch, each distinct row once: our work by other means.

Batches are those of our pipeline, which counts distinct rows with NumPy ahead
of the step (`torch.unique` would run inside it). Padding is cut off: PyTorch
needs no fixed shapes.
"""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.peers import torch_layers as layers
from dicm_jax import experiment, optim
from dicm_jax.data import batch as batch_lib
from dicm_jax.sharding import table

ADAGRAD_EPSILON = 1e-7
"""Optax's, inside the root."""


class Channel(nn.Module):
  """Weighted sum of each sample's behaviours; weights over their number."""

  def __init__(self, params: dict):
    super().__init__()
    self.of_key = layers.linear(params["of_key"])
    self.of_query = layers.linear(params["of_query"])
    self.rest = nn.Sequential(
      layers.prelu(params["activation"]), layers.mlp(params["rest"])
    )

  def forward(self, vectors, queries, batch):
    # Of the ways to gather and to sum, those whose two passes are fastest on
    # a CPU: half the time of `embedding` and `embedding_bag` here.
    entry, sample = batch["entry"], batch["sample"]
    keys = self.of_key(vectors).index_select(0, entry)
    asked = self.of_query(queries).index_select(0, sample)
    weight = self.rest(keys + asked) / batch["length"][:, None]
    values = weight * vectors.index_select(0, entry)
    place = sample[:, None].expand_as(values)
    zeros = torch.zeros(len(queries), values.shape[1])
    return zeros.scatter_add(0, place, values)


class DICM(nn.Module):
  """The net of configs/quickstart.py, and the image layers.

  Args:
    x: the experiment whose first parameters it takes.
  """

  def __init__(self, x: experiment.Experiment):
    super().__init__()
    dense, standard = x.state.dense, x.state.standard
    self.layout = x.layout
    self.mean = layers.tensor(standard.mean)
    self.inverse = layers.tensor(standard.inverse_stddev)
    self.embed = layers.mlp(dense["embed"])
    aggregator = dense["net"]["sight"]["aggregator"]
    self.by_image = Channel(aggregator["by_image"])
    self.by_ids = Channel(aggregator["by_ids"])
    self.net = layers.mlp(dense["net"]["net"])

  def forward(self, ids, features, batch):
    """Two outputs a sample.

    Args:
      ids: vectors of the distinct ID rows, [U, D].
      features: of the distinct images, [V, F].
      batch: as `batch_of` makes it.
    """
    ad_ids = [functional.embedding(i, ids) for i in batch["ad_ids"]]
    users = [
      functional.embedding_bag(place, ids, offsets, mode="sum")
      for place, offsets in batch["user_ids"]
    ]
    return self.outputs(
      torch.cat(ad_ids, 1), torch.cat(users, 1), features, batch
    )

  def outputs(self, ad, users, features, batch):
    """What follows the look-up of ids: vectors of each sample and group."""
    images = self.embed((features - self.mean) * self.inverse)
    user = functional.embedding(batch["group"], users)
    ad_image = images.index_select(0, batch["ad_image"])
    behaviours = images.index_select(0, batch["behaviours"])
    by_image = self.by_image(behaviours, ad_image, batch)
    by_ids = self.by_ids(behaviours, ad, batch)
    return self.net(torch.cat([ad, user, ad_image, by_image, by_ids], 1))


class Trainer:
  """Trains it: Adagrad on the rows touched, RMSprop on all else.

  The rows are written by hand. `nn.Embedding(sparse=True)` with
  `torch.optim.Adagrad` gives the same numbers, but sorts the rows again.
  """

  def __init__(self, x: experiment.Experiment):
    layers.start()
    self.net = DICM(x)
    rows = table.from_buckets(np.asarray(x.state.ids), x.layout.num_rows)
    self.ids = layers.tensor(rows)
    first = optim.INITIAL_ACCUMULATOR + ADAGRAD_EPSILON
    self.sums = torch.full_like(self.ids, first)
    self.features = layers.tensor(x.data.frozen(""))
    self.dense = layers.RMSprop(self.net.parameters(), rate=0.001)

  def loss(self, batch) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean loss, and the ID rows that it depends on."""
    ids = self.ids[batch["id_rows"]].requires_grad_()
    features = self.features[batch["image_rows"]]
    outputs = self.net(ids, features, batch)
    return layers.log_loss(outputs, batch["label"]), ids

  def step(self, batch) -> float:
    self.dense.zero_grad()
    loss, ids = self.loss(batch)
    loss.backward()
    self.dense.step()
    self.update_rows(batch["id_rows"], ids)
    return loss.item()

  @torch.no_grad()
  def update_rows(self, rows, ids, rate: float = 0.02) -> None:
    sums = self.sums[rows] + ids.grad**2
    self.sums[rows] = sums
    self.ids[rows] = ids - rate * ids.grad * sums.rsqrt()


def batch_of(
  x: experiment.Experiment, batch: batch_lib.Batch
) -> dict[str, Any]:
  """One device's batch as tensors, padding cut off."""
  inputs = batch.inputs
  num_groups = int(inputs["group"][0, -1]) + 1
  lengths = inputs["history_length"][0][:num_groups]
  of_sample = lengths[inputs["group"][0]]
  entry, sample = (part[0][: of_sample.sum()] for part in inputs["image_pairs"])
  return {
    "id_rows": _true(batch.id_rows[0]),
    "image_rows": _true(batch.image_rows[0]),
    "label": layers.tensor(batch.label[0]),
    "ad_ids": [
      layers.tensor(inputs["ad_ids"][name][0]) for name in x.layout.ad_fields
    ],
    "user_ids": [
      _lists(inputs["user_ids"][name], num_groups)
      for name in x.layout.user_fields
    ],
    "group": layers.tensor(inputs["group"][0]),
    "ad_image": layers.tensor(inputs["ad_image"][0]),
    "behaviours": layers.tensor(inputs["behaviours"][0][0][: lengths.sum()]),
    "entry": layers.tensor(entry.astype(np.int64)),
    "sample": layers.tensor(sample.astype(np.int64)),
    "length": layers.tensor(of_sample[sample].astype(np.float32)),
  }


def _true(rows: np.ndarray) -> torch.Tensor:
  return layers.tensor(rows[rows >= 0].astype(np.int64))


def _lists(lists, num_owners: int) -> tuple[torch.Tensor, torch.Tensor]:
  """Values end to end, and where each list starts."""
  place, owner = lists[0][0], lists[1][0]
  lengths = np.bincount(owner[owner < num_owners], minlength=num_owners)
  kept = place[: lengths.sum()]
  return layers.tensor(kept), layers.tensor(starts(lengths))


def starts(lengths: np.ndarray) -> np.ndarray:
  """Where lists of these lengths begin, end to end."""
  return (np.cumsum(lengths) - lengths).astype(np.int32)
