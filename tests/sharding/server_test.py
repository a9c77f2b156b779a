"""Owners embed their rows in chunks, padding costs nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dicm_jax.sharding import server, table

WIDTH, FEATURES, CHUNK = 3, 5, 4


def _apply(params, features):
  return jnp.tanh(features @ params["w"]) @ params["v"]


def _case(count: int):
  rng = np.random.default_rng(0)
  params = {
    "w": jnp.asarray(rng.normal(size=(FEATURES, 6)), jnp.float32),
    "v": jnp.asarray(rng.normal(size=(6, WIDTH)), jnp.float32),
  }
  content = rng.normal(size=(300, FEATURES)).astype(np.float32)
  rows = np.full(18, table.EMPTY, np.int32)
  rows[:count] = np.sort(rng.choice(300, count, replace=False))
  return params, content, rows


@pytest.mark.parametrize("count", [0, 1, 4, 5, 18])
def test_vectors_and_gradients_equal_those_of_one_big_batch(count):
  params, content, rows = _case(count)
  shard = jnp.asarray(table.to_buckets(content))
  read = server.stored_rows(shard, jnp.asarray(rows), chunk=CHUNK)
  n = jnp.int32(count)
  vectors = server.embed(
    _apply, params, read, n, capacity=18, width=WIDTH, chunk=CHUNK
  )
  wanted = content[rows[:count]]
  expected = _apply(params, wanted)
  np.testing.assert_allclose(vectors[:count], expected, rtol=1e-5, atol=1e-5)

  upstream = jnp.where(
    (jnp.arange(18) < count)[:, None], jnp.ones((18, WIDTH)) * 0.5, 0.0
  )
  got = server.pull_back(_apply, params, read, n, upstream, chunk=CHUNK)
  one_by_one = jax.grad(lambda p: 0.5 * _apply(p, wanted).sum())(params)
  # Sums in another order: a few units of the last place.
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
    got,
    one_by_one,
  )


def test_raw_content_is_encoded_once_for_each_chunk_of_true_rows():
  _, _, rows = _case(5)
  pixels = np.arange(300, dtype=np.uint8)[:, None]
  calls = []

  def encode(images):
    jax.debug.callback(lambda: calls.append(1))
    return jnp.repeat(images.astype(jnp.float32), FEATURES, axis=1)

  made = server.encoded(
    jnp.asarray(table.to_buckets(pixels)),
    jnp.asarray(rows),
    jnp.int32(5),
    encode=encode,
    width=FEATURES,
    dtype=jnp.float32,
    chunk=CHUNK,
  )
  read = server.made_rows(made, chunk=CHUNK)
  first, second = read(0), read(CHUNK)
  jax.effects_barrier()
  assert len(calls) == 2  # 5 rows in chunks of 4; 18 places would be 5.
  found = jnp.concatenate([first, second])[:5, 0]
  np.testing.assert_array_equal(found, rows[:5] % 256)
