"""Batch normalisation whose moments are those of the batch of all devices.

Source: Ioffe and Szegedy, https://arxiv.org/abs/1502.03167, algorithms 1 and 2.
"""

from flax import nnx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dicm_jax import errors
from dicm_jax.model import layers


class BatchNorm(nnx.Module):
  """scale * (x - mean) / sqrt(variance + epsilon) + bias, by channel.

  In training mean and variance are those of the batch, over all devices; in
  evaluation they are running averages of them. flax's layer reduces over an
  axis by its name only, which a model here does not know.

  With `groups` the batch is so many equal parts, one behind the other, and
  each is normalised by its own moments, as if the layer were called for one
  after the other. On several devices the parts are those of each device's
  share: a pair's two sides have to lie on one device, all the first sides
  before the second ones.

  Args:
    channels: length of the last axis.
    epsilon: added to the variance.
    momentum: share of a running average that one group's moments leave.
    groups: parts of the batch with moments of their own.
    total: sums over the devices that share a batch.
  """

  def __init__(
    self,
    channels: int,
    *,
    epsilon: float = 1e-3,
    momentum: float = 0.9,
    groups: int = 1,
    total: layers.Total = layers.alone,
  ):
    self.scale = nnx.Param(jnp.ones(channels, jnp.float32))
    self.bias = nnx.Param(jnp.zeros(channels, jnp.float32))
    self.mean = nnx.BatchStat(jnp.zeros(channels, jnp.float32))
    self.variance = nnx.BatchStat(jnp.ones(channels, jnp.float32))
    self.epsilon = epsilon
    self.momentum = momentum
    self.groups = groups
    self.total = total
    self.use_running_average = False  # Set by nnx's train() and eval().

  def __call__(self, x: Float[Array, "K *H C"]) -> Float[Array, "K *H C"]:
    """Normalises over all axes but the last.

    Args:
      x: inputs of any float dtype, which the result has too; the arithmetic
        is float32.

    Raises:
      InputError: in training, `groups` does not divide K.
    """
    groups = 1 if self.use_running_average else self.groups
    if len(x) % groups:
      raise errors.InputError(
        f"batch normalisation: expected a batch of {groups} equal parts on "
        f"each device, found {len(x)} entries"
      )
    parts = x.astype(jnp.float32).reshape(groups, -1, x.shape[-1])
    if self.use_running_average:
      mean, variance = self.mean[...][None], self.variance[...][None]
    else:
      mean, variance = self._moments(parts)
    factor = self.scale[...][None] * jax.lax.rsqrt(variance + self.epsilon)
    y = (parts - mean[:, None]) * factor[:, None] + self.bias[...][None, None]
    return y.reshape(x.shape).astype(x.dtype)

  def _moments(self, parts):
    """Mean and variance [groups, C]; remembers them for evaluation."""
    count = self.total(jnp.float32(parts.shape[1]))
    mean = self.total(parts.sum(1)) / count
    # About the mean: a difference of squares would lose the small variances.
    variance = self.total(((parts - mean[:, None]) ** 2).sum(1)) / count
    # Evaluation wants the estimate of the population's (algorithm 2, step 10).
    unbiased = variance * (count / jnp.maximum(count - 1, 1))
    for average, now in ((self.mean, mean), (self.variance, unbiased)):
      for one in jax.lax.stop_gradient(now):
        average[...] = self.momentum * average[...] + (1 - self.momentum) * one
    return mean, variance
