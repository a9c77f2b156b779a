"""Training whose exchanges carry rows alone; XLA:CPU has to be helped."""

import dataclasses

import jax
import numpy as np
import pytest

from dicm_jax import errors, experiment, loop, restore
from dicm_jax.planning import encoder, shapes, traffic, workload
from tests import toy
from tests.sharding import ragged

STEPS = 4
RAGGED = {"train__exchange": "ragged"}


@pytest.mark.parametrize("mesh", [(1, 4), (2, 4)], ids=str)
def test_it_learns_what_a_padded_exchange_learns(mesh, monkeypatch):
  expected = toy.run(toy.build(*mesh), STEPS)
  monkeypatch.setattr(jax.lax, "ragged_all_to_all", ragged.all_to_all)
  monkeypatch.setattr(experiment, "check_exchange", lambda *_: None)
  x = toy.build(*mesh, **RAGGED)
  assert x.program.id_route.ragged and x.program.image_route.ragged
  found = toy.run(x, STEPS)
  assert np.array_equal(found[1], expected[1])
  assert np.array_equal(found[0].ids, expected[0].ids)


def test_cpus_are_refused_where_anything_travels():
  with pytest.raises(errors.InputError, match=r"train\.exchange: .*'padded'"):
    toy.build(1, 2, **RAGGED)
  toy.build(**RAGGED)


def test_a_cpu_reads_what_gpus_trained(tmp_path, monkeypatch):
  toy.small_runs(monkeypatch)
  config = toy.values(train__steps=2, **RAGGED)
  loop.train_and_evaluate(config, tmp_path)
  toy.small_runs(monkeypatch, devices=2)
  found = restore.restore(tmp_path, mesh="1x2")
  assert found.x.program.mesh.size == 2


def test_a_plan_counts_rows_alone():
  config, data = toy.values(), toy.dataset()
  probed = workload.probe(config, data, 8)
  load = workload.measured(config, data, probed, 2, 4)
  made = shapes.of_step(config, load, encoder.of_config(config))
  padded = traffic.of_step(config, load, made)
  train = dataclasses.replace(config.train, exchange="ragged")
  rows = traffic.of_step(dataclasses.replace(config, train=train), load, made)
  by_name = {sent.name: sent for sent in rows}
  for sent in padded:
    found = by_name.pop(sent.name)
    if sent.kind == "all-to-all":
      assert found.wire_bytes == sent.bound_bytes < sent.wire_bytes
  assert {sent.name: sent.wire_bytes for sent in by_name.values()} == {
    "ids.counts": 4 * 7,
    "images.counts": 4 * 3,
  }
