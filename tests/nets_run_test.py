"""Every base net and aggregator trains on a mesh as on one device."""

import numpy as np
import pytest

from dicm_jax.model import aggregators, nets, structures
from tests import toy
from tests.train_test import assert_same_run

STEPS = 5
OPTIONS = {
  "din": {"model__activation": "dice"},
  "ffm": {"model__id_width": 13, "model__image_widths": (16, 12)},
  "lr": {"model__id_width": 1},
  "prerank": {"model__aggregator": "sum"},
  "unified": {
    "model__id_width": 1,
    "model__image_widths": (),
    "model__frozen_head": "stored",
    "model__frozen_width": 512,
    "sparse_optimizer__name": "ftrl",
    "sparse_optimizer__learning_rate": 1.0,
    "sparse_optimizer__l1": 0.001,
    "dense_optimizer__momentum": 0.9,
  },
}
"""What is particular to a net."""
NEEDS_HEAD = {"simtier", "target_attention"}


def trained(worker: int, server: int, **options):
  return toy.run(toy.build(worker, server, **options), STEPS)


@pytest.mark.slow
@pytest.mark.parametrize("name", nets.NETS)
def test_net_trains_on_a_mesh_as_on_one_device(name):
  options = OPTIONS.get(name, {}) | {"model__name": name}
  found = trained(2, 4, **options)
  assert_same_run(found, trained(1, 1, **options))
  assert found[1][-1] < found[1][0]  # It learned something at all.


@pytest.mark.slow
@pytest.mark.parametrize("training", ["joint", "apart"])
@pytest.mark.parametrize("structure", structures.STRUCTURES)
def test_structure_trains_on_a_mesh_as_on_one_device(structure, training):
  options = OPTIONS["unified"] | {
    "model__name": "unified",
    "model__structure": structure,
    "model__training": training,
  }
  found, expected = trained(2, 4, **options), trained(1, 1, **options)
  assert_same_run(found, expected)
  held = [np.asarray(run[0].ids) == 0 for run in (found, expected)]
  np.testing.assert_array_equal(*held)


@pytest.mark.slow
@pytest.mark.parametrize(
  "aggregator", sorted({*aggregators.names()} - {"multi_query_attentive"})
)  # The default, so the nets above have it.
def test_aggregator_trains_on_a_mesh_as_on_one_device(aggregator):
  head = 6 if aggregator in NEEDS_HEAD else 0
  options = {"model__aggregator": aggregator, "model__frozen_width": head}
  assert_same_run(trained(2, 4, **options), trained(1, 1, **options))
