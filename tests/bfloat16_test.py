"""Frozen features in bfloat16: half the bytes, the same run but rounded."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dicm_jax import errors, train
from dicm_jax.model import backbone
from dicm_jax.planning import encoder
from tests import toy

STEPS = 6
HALF = {"image__dtype": "bfloat16"}
PIXELS = {"image__mode": "pixels", "image__chunk": 8}


@functools.cache
def losses(**options) -> np.ndarray:
  return toy.run(toy.build(**options), STEPS)[1]


def test_features_take_half_the_bytes_and_train_nearly_the_same():
  half, full = toy.build(**HALF), toy.build()
  assert half.content.table.dtype == jnp.bfloat16
  assert 2 * half.content.table.nbytes == full.content.table.nbytes
  found = losses(**HALF)
  assert not np.array_equal(found, losses())
  np.testing.assert_allclose(found, losses(), rtol=0.03)


def test_on_the_host_they_make_the_same_bits():
  on_host = toy.build(image__tier="host", **HALF)
  assert on_host.held.dtype == jnp.bfloat16
  assert next(on_host.batches(0, 1)).content.dtype == jnp.bfloat16
  assert np.array_equal(losses(image__tier="host", **HALF), losses(**HALF))


@pytest.mark.parametrize("mesh", [(1, 1), (2, 4)])
def test_an_encoder_in_the_step_computes_in_it(mesh):
  options = PIXELS | {"worker": mesh[0], "server": mesh[1]}
  x = toy.build(**options, **HALF)
  assert x.content.table.dtype == jnp.uint8
  assert x.program.backbone.dtype == "bfloat16"
  assert x.feature_width == 512
  text = lowered(x)
  assert "bf16" in text
  assert "bf16" not in lowered(toy.build(**options))
  np.testing.assert_allclose(losses(**options, **HALF), losses(), rtol=0.03)


def lowered(x) -> str:
  step = train.make_train_step(x.program, x.state)
  return step.lower(x.state, x.content, next(x.batches(0, 1))).as_text("hlo")


def test_features_of_the_step_are_kept_in_it():
  x = toy.build(**PIXELS, **HALF)
  wide = f"bf16[{x.capacities['image_rows']},{x.feature_width}]"
  assert wide in lowered(x)


def test_a_trained_encoder_says_no():
  with pytest.raises(errors.InputError, match="dtype of a trained encoder"):
    backbone.make(backbone.TRAINED, weights="runs/a", dtype="bfloat16")


def test_a_plan_encodes_in_it_where_training_does():
  def params_of(**options):
    made = encoder.of_config(toy.values(**options))
    shape = jax.ShapeDtypeStruct((1, 227, 227, 3), jnp.uint8)
    return str(jax.make_jaxpr(made.apply)(made.params, shape))

  assert "bf16" in params_of(**PIXELS, **HALF)
  assert "bf16" not in params_of(**HALF)
