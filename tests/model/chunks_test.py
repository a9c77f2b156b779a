"""Rows in chunks give what all at once gives, and take less room."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dicm_jax.model import chunks

ROWS, WIDTH, SIZE = 50, 8, 16


def loss(table, weights, place, *, size=ROWS):
  def of_rows(place, scale):
    hidden = jnp.tanh(table[place] @ weights) * scale[:, None]
    return hidden.sum(1)

  scale = 1 + jnp.arange(len(place), dtype=jnp.float32)
  made = chunks.in_chunks(of_rows, place, scale, size=size)
  assert made.shape == place.shape
  return (made**2 * scale).sum()


def case(rows: int):
  rng = np.random.default_rng(rows)
  return (
    jnp.asarray(rng.normal(size=(30, WIDTH)), jnp.float32),
    jnp.asarray(rng.normal(size=(WIDTH, 64)), jnp.float32),
    jnp.asarray(rng.integers(0, 30, rows)),
  )


@pytest.mark.parametrize("rows", [0, 1, SIZE, SIZE + 1, ROWS])
def test_values_and_gradients_are_those_of_all_rows_at_once(rows):
  both = jax.value_and_grad(loss, argnums=(0, 1))
  expected = both(*case(rows))
  found = both(*case(rows), size=SIZE)
  for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * jnp.abs(b).max())


def test_a_step_over_many_rows_takes_the_room_of_few():
  rows = 1 << 14

  def room(size):
    gradient = jax.grad(lambda *x: loss(*x, size=size), argnums=(0, 1))
    made = jax.jit(gradient).lower(*case(rows)).compile()
    return made.memory_analysis().temp_size_in_bytes

  wide = rows * 64 * 4  # One array of what is made in between.
  assert room(rows) > wide
  assert room(rows // 16) < wide


def test_chunks_are_those_of_the_devices_meant():
  assert chunks.rows_at_a_time() == chunks.CPU_ROWS
  with chunks.planned_for("gpu"):
    assert chunks.rows_at_a_time() == chunks.OTHER_ROWS > chunks.CPU_ROWS
  assert chunks.rows_at_a_time() == chunks.CPU_ROWS
