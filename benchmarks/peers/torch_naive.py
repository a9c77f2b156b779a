"""DICM in PyTorch as it is first written: every sample by itself.

No row is counted once and no group shared: ids are looked up, and the image
layers run, for each behaviour and each ad of each sample. Gradients of the
tables are sparse, as torch.optim has them.
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.peers import torch_dicm
from benchmarks.peers import torch_layers as layers
from dicm_jax import experiment, optim
from dicm_jax.data import batch as batch_lib
from dicm_jax.sharding import table


class Channel(nn.Module):
  """FC 1(FC 16(FC 64([key ; query]))), its products not taken apart."""

  def __init__(self, params: dict):
    super().__init__()
    kernels = [params[part]["kernel"] for part in ("of_key", "of_query")]
    first = {
      "kernel": np.concatenate(kernels),
      "bias": params["of_key"]["bias"],
    }
    self.weigh = nn.Sequential(
      layers.linear(first),
      layers.prelu(params["activation"]),
      layers.mlp(params["rest"]),
    )

  def forward(self, keys, queries, batch):
    """Sums over the behaviours of each sample; keys are [Q, D]."""
    asked = queries.index_select(0, batch["sample"])
    weight = self.weigh(torch.cat([keys, asked], 1)) / batch["length"][:, None]
    values = weight * keys
    place = batch["sample"][:, None].expand_as(values)
    zeros = torch.zeros(len(queries), values.shape[1])
    return zeros.scatter_add(0, place, values)


class DICM(nn.Module):
  """Tables and net together; arguments as torch_dicm.DICM's."""

  def __init__(self, x: experiment.Experiment):
    super().__init__()
    dense, standard = x.state.dense, x.state.standard
    self.mean = layers.tensor(standard.mean)
    self.inverse = layers.tensor(standard.inverse_stddev)
    self.features = layers.tensor(x.data.frozen(""))
    self.embed = layers.mlp(dense["embed"])
    aggregator = dense["net"]["sight"]["aggregator"]
    self.by_image = Channel(aggregator["by_image"])
    self.by_ids = Channel(aggregator["by_ids"])
    self.net = layers.mlp(dense["net"]["net"])
    stacked = table.from_buckets(np.asarray(x.state.ids), x.layout.num_rows)
    rows = {
      f.name: layers.tensor(stacked[x.layout.offsets[f.name] :][: f.rows])
      for f in x.layout.features
    }
    self.ad = nn.ModuleList(
      nn.Embedding.from_pretrained(rows[n], freeze=False, sparse=True)
      for n in x.layout.ad_fields
    )
    self.user = nn.ModuleList(
      nn.EmbeddingBag.from_pretrained(
        rows[n], freeze=False, sparse=True, mode="sum"
      )
      for n in x.layout.user_fields
    )

  def image_vectors(self, rows):
    return self.embed((self.features[rows] - self.mean) * self.inverse)

  def forward(self, batch):
    """Two outputs a sample."""
    ids = [t(i) for t, i in zip(self.ad, batch["ad_ids"], strict=True)]
    bags = zip(self.user, batch["user_ids"], strict=True)
    users = [bag(*lists) for bag, lists in bags]
    ad = torch.cat(ids, 1)
    ad_image = self.image_vectors(batch["ad_image"])
    behaviours = self.image_vectors(batch["behaviours"])
    by_image = self.by_image(behaviours, ad_image, batch)
    by_ids = self.by_ids(behaviours, ad, batch)
    return self.net(torch.cat([ad, *users, ad_image, by_image, by_ids], 1))


class Trainer:
  """Trains it with torch.optim's Adagrad on the tables."""

  def __init__(self, x: experiment.Experiment):
    layers.start()
    self.net = DICM(x)
    tables = [*self.net.ad.parameters(), *self.net.user.parameters()]
    mine = {id(p) for p in tables}
    rest = [p for p in self.net.parameters() if id(p) not in mine]
    self.sparse = torch.optim.Adagrad(
      tables,
      lr=0.02,
      initial_accumulator_value=optim.INITIAL_ACCUMULATOR
      + torch_dicm.ADAGRAD_EPSILON,
      eps=0,
    )
    self.dense = layers.RMSprop(rest, rate=0.001)

  def step(self, batch) -> float:
    self.sparse.zero_grad()
    self.dense.zero_grad()
    loss = layers.log_loss(self.net(batch), batch["label"])
    loss.backward()
    self.dense.step()
    self.sparse.step()
    return loss.item()


def batch_of(
  x: experiment.Experiment, batch: batch_lib.Batch
) -> dict[str, Any]:
  """The same samples, each with its own lists, rows by their numbers."""
  inputs, id_rows = batch.inputs, batch.id_rows[0]
  image_rows, group = batch.image_rows[0], inputs["group"][0]
  num_groups = int(group[-1]) + 1
  lengths = inputs["history_length"][0][:num_groups][group]
  entry, sample = (part[0][: lengths.sum()] for part in inputs["image_pairs"])
  offsets = x.layout.offsets
  behaviours = inputs["behaviours"][0][0]

  def of_samples(name: str):
    place, owner = (part[0] for part in inputs["user_ids"][name][:2])
    count = np.bincount(owner[owner < num_groups], minlength=num_groups)
    chosen, of_sample = _repeat(count, group)
    rows = id_rows[place[chosen]] - offsets[name]
    return layers.tensor(rows), layers.tensor(torch_dicm.starts(of_sample))

  return {
    "label": layers.tensor(batch.label[0]),
    "ad_ids": [
      layers.tensor(id_rows[inputs["ad_ids"][n][0]] - offsets[n])
      for n in x.layout.ad_fields
    ],
    "user_ids": [of_samples(name) for name in x.layout.user_fields],
    "ad_image": layers.tensor(image_rows[inputs["ad_image"][0]]),
    "behaviours": layers.tensor(image_rows[behaviours[entry]]),
    "sample": layers.tensor(sample.astype(np.int64)),
    "length": layers.tensor(lengths[sample].astype(np.float32)),
  }


def _repeat(count: np.ndarray, group: np.ndarray):
  """Places of the groups' entries, once a sample, and how many each has."""
  start = np.cumsum(count) - count
  lengths = count[group]
  within = np.arange(lengths.sum()) - np.repeat(
    np.cumsum(lengths) - lengths, lengths
  )
  return np.repeat(start[group], lengths) + within, lengths
