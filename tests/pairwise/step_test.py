"""The step on pairs: its gradient, its meshes, its statistics."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dicm_jax.model import encoders, pairwise
from tests.pairwise import runs


def close(a, b, *, rtol: float) -> None:
  """Each array to `rtol` of its largest entry."""
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    scale = float(np.max(np.abs(y))) or 1.0
    np.testing.assert_allclose(x, y, rtol=0, atol=rtol * scale)


def linear(params, x):
  return jnp.tanh(x @ params)


def test_siamese_gradient_is_the_sum_of_its_branches():
  keys = jax.random.split(jax.random.key(0), 4)
  params = jax.random.normal(keys[0], (5, 3))
  anchor, clicked, other = (jax.random.normal(k, (7, 5)) for k in keys[1:])

  def loss(for_anchor, for_clicked, for_other):
    a, p, n = (
      linear(for_anchor, anchor),
      linear(for_clicked, clicked),
      linear(for_other, other),
    )
    lead = pairwise.score(a, p) - pairwise.score(a, n)
    return pairwise.logistic(lead).mean()

  shared = jax.grad(lambda w: loss(w, w, w))(params)
  branches = jax.grad(loss, argnums=(0, 1, 2))(params, params, params)
  np.testing.assert_allclose(shared, sum(branches), rtol=1e-5, atol=1e-7)
  assert all(float(jnp.abs(g).max()) > 0.01 for g in branches)


def test_encoder_s_gradient_is_the_sum_of_its_branches():
  """With running averages: those of a batch tie the branches together."""
  config = runs.values().encoder
  net = encoders.make(config, rngs=nnx.Rngs(0))
  net.eval()
  definition, params, rest = nnx.split(net, nnx.Param, ...)
  rng = np.random.default_rng(0)
  shape = (3, 4, config.image_size, config.image_size, 3)
  pictures = jnp.asarray(rng.integers(0, 256, shape), jnp.uint8)

  def loss(*each):
    a, p, n = (
      nnx.merge(definition, w, rest)(x)
      for w, x in zip(each, pictures, strict=True)
    )
    lead = pairwise.score(a, p) - pairwise.score(a, n)
    return pairwise.logistic(lead).mean()

  together = jax.jit(
    jax.grad(lambda w: _together(w, definition, rest, pictures))
  )
  branches = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(params, params, params)
  summed = jax.tree.map(lambda *g: sum(g), *branches)
  close(together(params), summed, rtol=1e-4)


def _together(params, definition, rest, pictures):
  vectors = nnx.merge(definition, params, rest)(
    pictures.reshape(-1, *pictures.shape[2:])
  )
  a, p, n = jnp.split(vectors, 3)
  lead = pairwise.score(a, p) - pairwise.score(a, n)
  return pairwise.logistic(lead).mean()


@pytest.mark.parametrize("statistics", ["joint", "separate"])
def test_eight_devices_learn_what_one_learns(statistics):
  given = runs.plain_steps(statistics)  # Joint moments are over all devices.
  one, eight = (runs.run(runs.build(devices, **given), 2) for devices in (1, 8))
  np.testing.assert_allclose(eight[1], one[1], rtol=1e-4)
  close(eight[0].encoder, one[0].encoder, rtol=1e-3)


def test_joint_and_separate_statistics_differ():
  joint, separate = (
    runs.run(runs.build(pairs__statistics=name), 1)[1]
    for name in ("joint", "separate")
  )
  assert abs(joint[0] - separate[0]) > 1e-3
