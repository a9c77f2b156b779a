"""Pairwise losses against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dicm_jax.model import pairwise

LEAD = jnp.array([-2.0, 0.0, 0.5, 3.0])


def test_losses_of_leads():
  logistic = np.log1p(np.exp(-np.array([-2.0, 0.0, 0.5, 3.0])))
  np.testing.assert_allclose(pairwise.logistic(LEAD), logistic, rtol=1e-6)
  assert pairwise.hinge(LEAD).tolist() == [3.0, 1.0, 0.5, 0.0]


@pytest.mark.parametrize("name", pairwise.LOSSES)
def test_loss_falls_with_the_lead(name):
  slope = jax.vmap(jax.grad(lambda x: pairwise.LOSSES[name](x[None])[0]))(LEAD)
  assert (slope <= 0).all()
  assert slope[0] < 0


def test_score_is_the_scaled_inner_product():
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=(2, 5, 3)).astype(np.float32)
  expected = [float(a @ b) / 3**0.5 for a, b in zip(x, y, strict=True)]
  np.testing.assert_allclose(
    pairwise.score(jnp.asarray(x), jnp.asarray(y)), expected, rtol=1e-5
  )
