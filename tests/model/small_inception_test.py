"""The small net: shapes, size, groups, meshes, and that it learns."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dicm_jax import errors
from dicm_jax.model import nets, small_inception
from dicm_jax.sharding import mesh as mesh_lib

SIZE = 32
IMAGES = np.random.default_rng(0).integers(
  0, 256, (16, SIZE, SIZE, 3), dtype=np.uint8
)


def small(**options) -> small_inception.SmallInception:
  options = {"width": 6, "image_size": SIZE} | options
  return small_inception.SmallInception(**options, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("size", [16, 50])
def test_any_size_becomes_an_embedding(size):
  shape = jax.eval_shape(
    lambda: small(image_size=size)(jnp.zeros((2, size, size, 3), "uint8"))
  )
  assert shape.shape == (2, 6)
  assert shape.dtype == jnp.float32


# Convolutions, scales and biases by hand: stem, three blocks, a halving one,
# a strided one; the head at 64 pixels and width 64.
def _conv(*shapes):
  return sum(side * side * i * o + 2 * o for side, i, o in shapes)


def _block(n):
  return _conv(
    (1, n, 16),
    (1, n, 16),
    (3, 16, 24),
    (1, n, 8),
    (3, 8, 12),
    (3, 12, 12),
    (1, n, 12),
  )


HALVING = _conv((3, 64, 32), (1, 64, 16), (3, 16, 24), (3, 24, 32))
TRUNK = _conv((3, 3, 16), (3, 16, 32)) + _block(32) + HALVING + 2 * _block(64)
HEAD = 4 * 4 * 64 * 64 + 64
COUNTS = {"max": TRUNK + HEAD, "strided": TRUNK + _conv((3, 64, 64)) + HEAD}


@pytest.mark.parametrize("last", small_inception.LAST)
def test_parameters_are_few(last):
  net = nnx.eval_shape(lambda: small(last=last, image_size=64, width=64))
  leaves = jax.tree.leaves(nnx.state(net, nnx.Param))
  assert sum(leaf.size for leaf in leaves) == COUNTS[last] < 200_000


@nnx.jit
def last_map(net, images):
  x = images.astype(jnp.float32) / 127.5 - 1
  for block in net.blocks:
    x = block(x)
  return x


@nnx.jit
def reduced(net, images):
  return net.reduced(images)


@nnx.jit
def embed(net, images):
  return net(images)


def test_max_takes_the_largest_of_nine():
  x = last_map(small(last="max"), IMAGES)
  found = reduced(small(last="max"), IMAGES).reshape(16, 2, 2, -1)
  for i, j in np.ndindex(2, 2):
    window = x[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
    # float32 sums, compiled twice.
    np.testing.assert_allclose(
      found[:, i, j], window.max((1, 2)), rtol=1e-4, atol=1e-4
    )


def test_strided_reduction_is_normalised_over_the_batch():
  found = reduced(small(last="strided"), IMAGES)
  assert (found >= 0).all()
  # Of numbers around zero, about a half.
  assert 0.3 < (found == 0).mean() < 0.7


def test_groups_equal_calls_one_after_the_other():
  # Other pictures in the second half: brighter.
  images = np.concatenate([IMAGES[:8] // 2, 128 + IMAGES[8:] // 2])
  together, apart = small(groups=2), small()
  found = embed(together, images)
  expected = [embed(apart, half) for half in np.split(images, 2)]
  # float32 sums in another order, through ten layers.
  close = {"rtol": 1e-3, "atol": 1e-4}
  np.testing.assert_allclose(found, np.concatenate(expected), **close)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, **close),
    nets.statistics(together),
    nets.statistics(apart),
  )
  assert np.abs(found - embed(small(), images)).max() > 0.1


def test_kernels_begin_he_normal():
  net = small()
  units = [u for block in net.blocks for u in block.units.values()]
  kernels = [np.asarray(u.conv.kernel[...]) for u in (*units, net.last)]
  for kernel in kernels:
    std = np.sqrt(2 / kernel[..., 0].size)
    # The deviation of n draws has itself one of 1 / sqrt(2 n).
    assert abs(kernel.std() / std - 1) < 5 / np.sqrt(2 * kernel.size)
  assert len({float(k.flat[0]) / k.std() for k in kernels}) == len(kernels)


def learn(definition, params, images, targets):
  """Squared error, statistics, gradients."""

  def loss(params):
    net = nnx.merge(definition, params)
    error = ((net(images) - targets) ** 2).sum() / 16
    return error, nets.statistics(net)

  (value, found), gradients = jax.value_and_grad(loss, has_aux=True)(params)
  return value, found, gradients


def split(net) -> tuple[nnx.GraphDef, dict]:
  definition, params = nnx.split(net)
  return definition, nnx.to_pure_dict(params)


TARGETS = np.random.default_rng(1).normal(size=(16, 6)).astype(np.float32)


@pytest.mark.slow
def test_every_mesh_learns_the_same():
  mesh = mesh_lib.make_mesh(-1, 1)
  definition, params = split(small(total=mesh_lib.total))

  def on_device(images, targets):
    value, found, gradients = learn(definition, params, images, targets)
    return *mesh_lib.total((value, gradients)), found

  value, gradients, found = jax.jit(
    jax.shard_map(
      on_device,
      mesh=mesh,
      in_specs=mesh_lib.BATCH,
      out_specs=jax.P(),
      check_vma=False,
    )
  )(IMAGES, TARGETS)
  expected = jax.jit(learn, static_argnums=0)(*split(small()), IMAGES, TARGETS)
  # Sums in another order can push a number over the kink of a ReLU.
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      a, b, rtol=1e-3, atol=1e-3 * np.abs(b).max()
    ),
    (value, found, gradients),
    expected,
  )


@pytest.mark.slow
def test_training_fits_targets_and_evaluation_sees_no_batch():
  definition, params = split(small())
  adam = optax.adam(0.003)

  @jax.jit
  def step(params, slots):
    value, found, gradients = learn(
      definition, params, jnp.asarray(IMAGES), TARGETS
    )
    updates, slots = adam.update(gradients, slots)
    params = optax.apply_updates(params, updates)
    return nets.with_statistics(params, found), slots, value

  slots = adam.init(params)
  params, slots, first = step(params, slots)
  for _ in range(60):
    params, slots, last = step(params, slots)
  assert last < first / 10
  net = nnx.merge(definition, params)
  net.eval()
  found = embed(net, IMAGES)
  assert ((found - TARGETS) ** 2).sum() / 16 < first / 5
  # float32 sums of a smaller batch.
  np.testing.assert_allclose(
    embed(net, IMAGES[:3]), found[:3], rtol=1e-3, atol=1e-4
  )


def test_mistakes_are_named():
  with pytest.raises(errors.InputError, match="did you mean 'max'"):
    small(last="maximum")
  with pytest.raises(errors.InputError, match="at least 16; found 8"):
    small(image_size=8)
