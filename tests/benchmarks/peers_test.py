"""The programs that ours are compared with do the same work."""

import dataclasses
import functools
import importlib

import jax
import numpy as np
import pytest

from benchmarks.peers import runs, strategies, unrouted, workload
from dicm_jax.data import click_log
from tests import toy

STEPS = 3


@functools.cache
def data():
  """Fields as the built-in sample has them: ids alone, no lists of ads."""
  made = toy.dataset()

  def ids_alone(log: click_log.ClickLog) -> click_log.ClickLog:
    return dataclasses.replace(log, ad_lists={}, ad_dense=None, user_dense=None)

  return dataclasses.replace(
    made,
    features=tuple(f for f in made.features if not f.lists),
    train=ids_alone(made.train),
    test=ids_alone(made.test),
  )


@functools.cache
def work(servers: int = 1, file: str = "quickstart"):
  """Small batches of short histories."""
  return workload.build(
    data=data(),
    behaviours=5,
    features=24,
    file=file,
    values={"train.batch_size": 64, "mesh.server": servers},
    devices=jax.devices()[:servers],
  )


@functools.cache
def losses_of_ours():
  return toy.run(work(), STEPS)[1]


def losses(trainer, batch_of):
  batches = [workload.batch_of(work(), step) for step in range(STEPS)]
  return [trainer.step(batch_of(work(), batch)) for batch in batches]


@pytest.mark.parametrize(
  ("name", "package"),
  [
    ("torch_dicm", "torch"),
    ("torch_naive", "torch"),
    ("torchrec_dicm", "torchrec"),
  ],
)
# TorchRec warns of parts of PyTorch that it uses.
@pytest.mark.filterwarnings("ignore")
def test_pytorch_program_has_our_losses(name, package):
  pytest.importorskip(package, reason="needs the extra 'peers'")
  module = importlib.import_module(f"benchmarks.peers.{name}")
  found = losses(module.Trainer(work()), module.batch_of)
  # float32, sums in another order; the third loss rests on both optimisers.
  np.testing.assert_allclose(found, losses_of_ours(), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_fuxictr_learns_on_our_batches():
  """It is another model: no loss to compare with."""
  pytest.importorskip("torch", reason="FuxiCTR is written in PyTorch")
  pytest.importorskip("fuxictr", reason="pip install --no-deps fuxictr==2.3.10")
  module = importlib.import_module("benchmarks.peers.fuxictr_din")
  x = work(file="din")
  trainer = module.Trainer(x)
  batch = module.batch_of(x, workload.batch_of(x, 0))
  fields, items, mask = batch
  lengths = workload.batch_of(x, 0).inputs["history_length"][0]
  group = workload.batch_of(x, 0).inputs["group"][0]
  np.testing.assert_array_equal(mask.sum(1), lengths[group])
  assert all(len(v) == mask.numel() + len(mask) for v in items.values())
  found = [trainer.step((fields, dict(items), mask)) for _ in range(20)]
  assert found[-1] < found[0]


def test_step_without_routing_has_our_losses():
  x = work()
  run = runs.of_jax(
    x,
    unrouted.make_step(x),
    unrouted.first_state(x),
    x.data.frozen(""),
  )
  for step in range(STEPS):
    run.seconds(step)
  # float32; derivatives are taken in another order.
  np.testing.assert_allclose(run.losses, losses_of_ours(), rtol=1e-5)


@pytest.mark.parametrize(
  "servers", [1, pytest.param(8, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", ["PS-server", "PS-worker"])
def test_older_strategy_has_the_model_servers_losses(name, servers):
  x = work(servers)
  prepare = functools.partial(strategies.batch_of, name)
  run = runs.of_jax(
    x,
    strategies.make_step(name, x),
    x.state,
    x.content,
    prepare=prepare,
  )
  for step in range(STEPS):
    run.seconds(step)
  # float32; images are summed over in another order, on 1 device or 8.
  np.testing.assert_allclose(run.losses, losses_of_ours(), rtol=1e-5)


def test_ps_worker_counts_nothing_once():
  x = work()
  batch = workload.batch_of(x, 0)
  made = strategies.with_features(x, batch)
  ads = batch.label.shape[1]
  features, images = made.image_rows[0], batch.image_rows[0]
  assert len(features) >= ads + batch.inputs["behaviours"][0].shape[1]
  stored = x.data.frozen("")
  ad = images[batch.inputs["ad_image"][0]]
  np.testing.assert_array_equal(features[:ads], stored[ad])
  count = batch.inputs["history_length"].sum()
  behaviours = images[batch.inputs["behaviours"][0][0][:count]]
  np.testing.assert_array_equal(features[ads:][:count], stored[behaviours])
