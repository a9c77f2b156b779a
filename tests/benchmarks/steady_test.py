"""A warm run compiles nothing more, and the counter of compilations counts."""

import jax
import jax.numpy as jnp
import pytest

from benchmarks import steady
from tests import toy


def test_five_hundred_steps_compile_nothing():
  # Batches of 64 samples differ much: it takes some for the largest to come.
  assert steady.run(toy.build(), 500, warm_up=200).compiled == 0


@pytest.mark.slow
def test_nor_do_they_where_the_next_batch_is_asked_for():
  found = steady.run(toy.build(), 500, warm_up=200, asks_ahead=True)
  assert found.compiled == 0


@pytest.mark.slow
@pytest.mark.parametrize("tier", ["device", "host"])
def test_nor_do_they_on_a_mesh(tier):
  x = toy.build(2, 4, image__tier=tier)
  assert steady.run(x, 500, warm_up=200).compiled == 0


@pytest.mark.slow
def test_nor_do_they_with_the_default_config():
  assert steady.run(toy.default_experiment(1, 1), 500).compiled == 0


def test_compilations_are_counted_while_asked_for():
  def double(x):
    return 2 * x

  with steady.compilations() as count:
    jax.jit(double)(jnp.ones(3))
    first = count()
    jax.jit(double)(jnp.ones(5))
    assert count() > first > 0
  seen = count()
  jax.jit(double)(jnp.ones(7))
  assert count() == seen
