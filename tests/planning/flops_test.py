"""Work counted by hand."""

import jax
import jax.numpy as jnp
import pytest

from dicm_jax.planning import flops

X = jax.ShapeDtypeStruct((5, 3), jnp.float32)
Y = jax.ShapeDtypeStruct((3, 7), jnp.float32)


@pytest.mark.parametrize(
  ("function", "shapes", "expected"),
  [
    (lambda x, y: x @ y, (X, Y), 2 * 5 * 3 * 7),
    (lambda x: x + 1, (X,), 15),
    (lambda x: x.sum(), (X,), 15),
    (lambda x: jnp.exp(x).T.reshape(-1), (X,), 0),
    (lambda x: jax.jit(lambda a: a * a)(x), (X,), 15),
    (lambda x: jnp.zeros((9, 3)).at[jnp.arange(5)].add(x), (X,), 15),
  ],
)
def test_counts_equal_those_by_hand(function, shapes, expected):
  # What makes indices may add a few.
  assert flops.count(function, *shapes) == pytest.approx(expected, abs=25)


def test_a_scan_counts_each_of_its_turns():
  def turns(x):
    return jax.lax.scan(lambda c, _: (c * 2.0, None), x, length=4)[0]

  assert flops.count(turns, X) == 4 * 15


def test_a_convolution_counts_its_kernel_for_each_number():
  image = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
  kernel = jax.ShapeDtypeStruct((3, 3, 3, 4), jnp.float32)

  def convolve(x, k):
    return jax.lax.conv_general_dilated(
      x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )

  expected = 2 * (3 * 3 * 3) * (8 * 8 * 4)
  assert flops.count(convolve, image, kernel) == expected
