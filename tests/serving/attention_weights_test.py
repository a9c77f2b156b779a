"""Weights are those of the paper's formula, one pair at a time."""

import numpy as np
import pytest

from dicm_jax import errors
from dicm_jax.serving import attention_weights, logs
from dicm_jax.serving import bundle as bundle_lib
from tests.serving import bundles, explain_test


def prelu(x, slope):
  return np.where(x > 0, x, slope * x)


def weight(p, name, key, query, length):
  """FC 1(FC 16(FC 64([key ; query]))) of one pair, over the length."""
  at = f"sight.aggregator.{name}"
  x = key @ p[f"{at}.of_key.kernel"] + p[f"{at}.of_key.bias"]
  x = prelu(x + query @ p[f"{at}.of_query.kernel"], p[f"{at}.activation.slope"])
  x = x @ p[f"{at}.rest.linear.0.kernel"] + p[f"{at}.rest.linear.0.bias"]
  x = prelu(x, p[f"{at}.rest.activations.0.slope"])
  x = x @ p[f"{at}.rest.linear.1.kernel"] + p[f"{at}.rest.linear.1.bias"]
  return x.item() / length


def test_weights_are_those_of_the_formula(made):
  view, bundle = explain_test.some_view(made), made.bundle
  found = attention_weights.AttentionWeights(bundle)(view)
  assert list(found) == ["by_image", "by_ids"]
  keys = bundle.images[view.behaviour_images.values]
  parameters = bundle.arrays(bundle_lib.PARAMETERS)
  expected = [
    [weight(parameters, "by_image", key, query, len(keys)) for key in keys]
    for query in bundle.images[view.ad_image]
  ]
  # Float32 sums in another order.
  np.testing.assert_allclose(found["by_image"], expected, rtol=0, atol=1e-6)
  assert found["by_ids"].shape == found["by_image"].shape


def test_user_without_behaviours_has_no_weights(made):
  empty = int(np.argmin(made.log.behaviour_images.lengths))
  view = logs.part(made.log, slice(empty, empty + 1))
  assert attention_weights.AttentionWeights(made.bundle)(view) == {}


@pytest.mark.slow
@pytest.mark.parametrize(
  ("options", "found"),
  [
    ({"model__aggregator": "sum"}, "found 'dicm' with 'sum'"),
    ({"model__images": "none"}, "does not see what users"),
  ],
)
def test_network_without_attention_says_so(
  options, found, tmp_path, monkeypatch
):
  made = bundles.make(tmp_path, monkeypatch, **options)
  with pytest.raises(errors.InputError, match=found):
    attention_weights.AttentionWeights(made.bundle)
