"""torch_dicm with TorchRec's tables in place of rows counted once.

FBGEMM pools a field's ids of all lists and, on the way back, sums the gradients
of equal rows and runs Adagrad on them, inside one operator. User fields are
looked up once a group, ad fields once a sample. Images and all else are
torch_dicm's.

TorchRec and fbgemm-gpu-cpu 1.8.0 go with torch 2.13; 1.9 fails to load, as it
looks for a symbol that torch 2.13 has not.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torchrec
from torchrec.modules import fused_embedding_modules

from benchmarks.peers import torch_dicm
from benchmarks.peers import torch_layers as layers
from dicm_jax import experiment, optim
from dicm_jax.data import batch as batch_lib
from dicm_jax.sharding import table


class Tables(fused_embedding_modules.FusedEmbeddingBagCollection):
  """The tables of some fields, with Adagrad as optax has it."""

  def __init__(self, x: experiment.Experiment, names: Sequence[str]):
    rows = {f.name: f.rows for f in x.layout.features}
    configs = [
      torchrec.EmbeddingBagConfig(
        name=name,
        feature_names=[name],
        num_embeddings=rows[name],
        embedding_dim=x.program.model.id_width,
      )
      for name in names
    ]
    super().__init__(
      configs,
      torch.optim.Adagrad,
      {"lr": 0.02, "eps": 0.0},
      device=torch.device("cpu"),
    )
    stacked = table.from_buckets(np.asarray(x.state.ids), x.layout.num_rows)
    (lookups,) = self._emb_modules
    kernel = lookups._emb_module
    with torch.no_grad():
      for name, weight, (sums,) in zip(
        names,
        kernel.split_embedding_weights(),
        kernel.split_optimizer_states(),
        strict=True,
      ):
        first = x.layout.offsets[name]
        weight.copy_(layers.tensor(stacked[first : first + rows[name]]))
        sums.fill_(optim.INITIAL_ACCUMULATOR + torch_dicm.ADAGRAD_EPSILON)


class Trainer:
  """Trains the net; the tables train themselves as gradients reach them."""

  def __init__(self, x: experiment.Experiment):
    layers.start()
    self.net = torch_dicm.DICM(x)
    self.ad = Tables(x, x.layout.ad_fields)
    self.user = Tables(x, x.layout.user_fields)
    self.features = layers.tensor(x.data.frozen(""))
    self.dense = layers.RMSprop(self.net.parameters(), rate=0.001)

  def step(self, batch) -> float:
    self.dense.zero_grad()
    outputs = self.net.outputs(
      self.ad(batch["ad"]).values(),
      self.user(batch["user"]).values(),
      self.features[batch["image_rows"]],
      batch,
    )
    loss = layers.log_loss(outputs, batch["label"])
    loss.backward()
    self.dense.step()
    return loss.item()


def batch_of(
  x: experiment.Experiment, batch: batch_lib.Batch
) -> dict[str, Any]:
  """As torch_dicm's, the ids as TorchRec takes them."""
  id_rows, inputs = batch.id_rows[0], batch.inputs
  offsets, num_samples = x.layout.offsets, batch.label.shape[1]
  num_groups = int(inputs["group"][0, -1]) + 1
  ad = [
    (name, id_rows[inputs["ad_ids"][name][0]], np.ones(num_samples, np.int32))
    for name in x.layout.ad_fields
  ]
  user = []
  for name in x.layout.user_fields:
    place, owner = (part[0] for part in inputs["user_ids"][name][:2])
    there = owner < num_groups
    lengths = np.bincount(owner[there], minlength=num_groups)
    user.append((name, id_rows[place[there]], lengths.astype(np.int32)))
  return torch_dicm.batch_of(x, batch) | {
    "ad": _jagged(ad, offsets),
    "user": _jagged(user, offsets),
  }


def _jagged(fields, offsets) -> torchrec.KeyedJaggedTensor:
  names, rows, lengths = zip(*fields, strict=True)
  values = [r - offsets[n] for n, r in zip(names, rows, strict=True)]
  return torchrec.KeyedJaggedTensor(
    keys=list(names),
    values=layers.tensor(np.concatenate(values).astype(np.int64)),
    lengths=layers.tensor(np.concatenate(lengths)),
  )
