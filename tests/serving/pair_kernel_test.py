"""The compiled kernel weighs pairs as NumPy does."""

import numpy as np
import pytest

from dicm_jax.serving import numpy_attention, pair_kernel

WIDTH, ASKED, HIDDEN, OUTPUTS = 12, 36, 64, 16


def channel(rng):
  def of(*shape):
    return rng.standard_normal(shape, np.float32) / 4

  parameters = {
    "c.of_key.kernel": of(WIDTH, HIDDEN),
    "c.of_key.bias": of(HIDDEN),
    "c.of_query.kernel": of(ASKED, HIDDEN),
    "c.activation.slope": of(HIDDEN),
    "c.rest.linear.0.kernel": of(HIDDEN, OUTPUTS),
    "c.rest.linear.0.bias": of(OUTPUTS),
    "c.rest.activations.0.slope": of(OUTPUTS),
    "c.rest.linear.1.kernel": of(OUTPUTS, 1),
    "c.rest.linear.1.bias": of(1),
  }
  return numpy_attention.Channel(parameters, "c", "none")


@pytest.mark.parametrize(
  ("ads", "behaviours"), [(1, 1), (3, 26), (45, 26), (2, 600), (0, 5), (5, 0)]
)
def test_compiled_kernel_weighs_as_numpy(ads, behaviours):
  assert pair_kernel.compiled() is not None  # The tests' extra brings Numba.
  rng = np.random.default_rng(0)
  made = channel(rng)
  asked = (
    rng.standard_normal((behaviours, WIDTH), np.float32),
    rng.standard_normal((ads, ASKED), np.float32),
  )
  found = made.weigh(*asked)
  made._weigh = numpy_attention._by_numpy
  assert found.shape == (ads, behaviours)
  np.testing.assert_allclose(found, made.weigh(*asked), rtol=0, atol=1e-5)


def test_numbers_that_are_not_finite_stay_so():
  made = channel(np.random.default_rng(0))
  ones = np.ones((2, WIDTH), np.float32)
  ones[1, 3] = np.nan
  found = made.weigh(ones, np.ones((4, ASKED), np.float32))
  assert np.isfinite(found[:, 0]).all()
  assert np.isnan(found[:, 1]).all()
