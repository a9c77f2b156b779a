"""BatchNorm against PyTorch's, on meshes, and in groups."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dicm_jax import errors
from dicm_jax.model import batch_norm, nets
from dicm_jax.sharding import mesh as mesh_lib

RNG = np.random.default_rng(0)
# A large mean: a difference of squares would lose the variance.
X = RNG.normal(50, 3, (16, 5, 4, 3)).astype(np.float32)
WEIGHT = RNG.normal(size=X.shape).astype(np.float32)
SCALE, BIAS = RNG.normal(size=(2, 3)).astype(np.float32)
# float32; about a mean of 50, six digits are four of the offset.
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def norm(**options) -> batch_norm.BatchNorm:
  made = batch_norm.BatchNorm(3, **options)
  made.scale[...], made.bias[...] = jnp.asarray(SCALE), jnp.asarray(BIAS)
  return made


def loss(params, x, weight, definition):
  """A sum whose gradient sees every output; and what the layer learned."""
  made = nnx.merge(definition, params)
  return (made(x) * weight).sum(), nets.statistics(made)


def learn(x, weight, made):
  """Loss, statistics, gradients by parameters and by inputs."""
  definition, params = nnx.split(made)
  (value, found), (by_params, by_x) = jax.value_and_grad(
    loss, argnums=(0, 1), has_aux=True
  )(nnx.to_pure_dict(params), x, weight, definition)
  return value, found, by_params, by_x


def assert_close(found, expected):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, **CLOSE), found, expected
  )


def test_training_equals_pytorch():
  torch = pytest.importorskip("torch", reason="the reference is PyTorch's")
  theirs = torch.nn.BatchNorm2d(3, eps=0.01, momentum=0.3)
  theirs.weight.data = torch.from_numpy(SCALE)
  theirs.bias.data = torch.from_numpy(BIAS)
  x = torch.from_numpy(X.transpose(0, 3, 1, 2).copy()).requires_grad_()
  expected = theirs(x)
  (
    expected * torch.from_numpy(WEIGHT.transpose(0, 3, 1, 2).copy())
  ).sum().backward()
  ours = norm(epsilon=0.01, momentum=0.7)
  _, found, by_params, by_x = learn(X, WEIGHT, ours)
  assert_close(
    ours(jnp.asarray(X)), expected.detach().permute(0, 2, 3, 1).numpy()
  )
  assert_close(found["mean"], theirs.running_mean.numpy())
  assert_close(found["variance"], theirs.running_var.numpy())  # Unbiased.
  assert_close(by_params["scale"], theirs.weight.grad.numpy())
  assert_close(by_params["bias"], theirs.bias.grad.numpy())
  assert_close(by_x, x.grad.permute(0, 2, 3, 1).numpy())
  assert np.abs(by_x).max() > 0.1


def test_evaluation_uses_running_averages_and_keeps_them():
  made = norm()
  made.mean[...] = jnp.array([1.0, 2.0, 3.0])
  made.variance[...] = jnp.array([4.0, 5.0, 6.0])
  made.eval()
  before = nets.statistics(made)
  found = made(jnp.asarray(X[:1]))  # No part of a batch has a say.
  by_hand = (X[:1] - [1, 2, 3]) / np.sqrt(np.add([4, 5, 6], 1e-3))
  assert_close(found, by_hand * SCALE + BIAS)
  assert_close(nets.statistics(made), before)


def test_no_gradient_reaches_the_running_averages():
  _, _, by_params, _ = learn(X, WEIGHT, norm())
  assert not by_params["mean"].any()
  assert not by_params["variance"].any()


def grouped(x: np.ndarray, devices: int) -> np.ndarray:
  """Lays halves out so that each device's share has as much of both."""
  halves = x.reshape(2, devices, -1, *x.shape[1:])
  return halves.swapaxes(0, 1).reshape(x.shape)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("devices", [1, 8])
def test_every_mesh_has_the_moments_of_the_whole_batch(devices, groups):
  mesh = mesh_lib.make_mesh(-1, 1, jax.devices()[:devices])
  made = norm(groups=groups, total=mesh_lib.total)

  def on_device(x, weight):
    value, found, by_params, by_x = learn(x, weight, made)
    return *mesh_lib.total((value, by_params)), found, by_x

  value, by_params, found, by_x = jax.jit(
    jax.shard_map(
      on_device,
      mesh=mesh,
      in_specs=mesh_lib.BATCH,
      out_specs=(jax.P(), jax.P(), jax.P(), mesh_lib.BATCH),
      check_vma=False,
    )
  )(grouped(X, devices), grouped(WEIGHT, devices))
  expected = learn(X, WEIGHT, norm(groups=groups))
  # Sums of 320 in another order.
  assert_close((value, found, by_params), expected[:3])
  assert_close(by_x, grouped(np.asarray(expected[3]), devices))


def test_groups_equal_calls_one_after_the_other():
  x = np.concatenate([X[:8], 2 * X[8:]])
  together, apart = norm(groups=2), norm()
  found = together(jnp.asarray(x))
  expected = [apart(jnp.asarray(half)) for half in (x[:8], x[8:])]
  assert_close(found, np.concatenate(expected))
  assert_close(nets.statistics(together), nets.statistics(apart))
  assert np.abs(found - norm()(jnp.asarray(x))).max() > 0.1


def test_groups_that_do_not_divide_the_batch_are_refused():
  with pytest.raises(errors.InputError, match=r"2 equal parts.*found 3"):
    norm(groups=2)(jnp.asarray(X[:3]))


def test_bfloat16_is_normalised_in_float32():
  x = jnp.asarray(X, jnp.bfloat16)
  found = norm()(x)
  assert found.dtype == jnp.bfloat16
  expected = norm()(x.astype(jnp.float32))
  # Only the result is rounded, to 8 bits.
  np.testing.assert_allclose(found, expected, rtol=2**-8, atol=1e-6)
