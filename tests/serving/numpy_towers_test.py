"""NumPy's towers give the logits of their run, for its users and for others."""

import numpy as np
import pytest

from dicm_jax import errors
from dicm_jax.serving import numpy_layers, numpy_towers
from tests.serving import bundles


def assert_same_scores(made) -> None:
  towers = numpy_towers.NumpyTowers(made.bundle)
  ads, users = towers.ads(made.log), towers.users(made.log)
  assert users.shape == (made.log.num_groups, 10)
  logits = (ads * users[made.log.group]).sum(axis=1)
  assert np.std(made.probability) > 1e-3
  # Float32 sums in another order.
  np.testing.assert_allclose(
    numpy_layers.sigmoid(logits), made.probability, rtol=0, atol=1e-5
  )


def test_inner_products_are_the_runs_logits(towers):
  assert_same_scores(towers)


VARIANTS = {
  "ids only": {"model__images": "none"},
  "behaviours alone": {"model__images": "behaviour"},
  "ad alone": {"model__images": "ad"},
  "dice": {"model__activation": "dice"},
  "latest": {"model__aggregator": "concat"},
  "mean": {"model__aggregator": "mean"},
  "separate image nets": {"model__image_nets": "separate"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_variants_are_the_runs_logits(name, tmp_path, monkeypatch):
  made = bundles.towers(tmp_path, monkeypatch, **VARIANTS[name])
  assert_same_scores(made)


def test_blocks_of_ads_make_no_difference(towers, monkeypatch):
  made = numpy_towers.NumpyTowers(towers.bundle)
  whole = made.ads(towers.log)
  monkeypatch.setattr(numpy_towers, "_ADS", 7)
  # Products of other shapes may round otherwise.
  np.testing.assert_allclose(made.ads(towers.log), whole, rtol=0, atol=1e-6)


def test_network_without_towers_is_refused(made):
  with pytest.raises(errors.InputError, match=r"'prerank'.*found 'dicm'"):
    numpy_towers.NumpyTowers(made.bundle)
