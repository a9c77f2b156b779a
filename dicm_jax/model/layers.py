"""Dense layers and their activations."""

from collections.abc import Callable, Sequence
import itertools

from flax import nnx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Total = Callable[[Array], Array]
"""Sums an array over all devices that share a batch."""


def alone(x: Array) -> Array:
  """The total of a batch that lies on one device."""
  return x


def unit(vectors: Float[Array, "n Z"]) -> Float[Array, "n Z"]:
  """Scales vectors to length 1; one of zeros stays as it is.

  >>> made = unit(jnp.array([[3.0, 4.0], [0.0, 0.0]]))
  >>> [[round(x, 4) for x in row] for row in made.tolist()]
  [[0.6, 0.8], [0.0, 0.0]]
  """
  length = jnp.linalg.norm(vectors, axis=1, keepdims=True)
  return vectors / jnp.maximum(length, 1e-9)


class PReLU(nnx.Module):
  """max(x, 0) + slope * min(x, 0), one learned slope a channel.

  Source: He et al. 2015, https://arxiv.org/abs/1502.01852, equation 1.
  """

  def __init__(self, width: int, total: Total = alone):
    del total
    self.slope = nnx.Param(jnp.full((width,), 0.25, jnp.float32))

  def __call__(
    self, x: Float[Array, "n width"], mask: Bool[Array, " n"] | None = None
  ) -> Float[Array, "n width"]:
    del mask
    slope = jnp.broadcast_to(self.slope[...], x.shape)
    return jnp.where(x > 0, x, slope * x)


class ReLU(nnx.Module):
  """max(x, 0)."""

  def __init__(self, width: int, total: Total = alone):
    del width, total

  def __call__(
    self, x: Float[Array, "n width"], mask: Bool[Array, " n"] | None = None
  ) -> Float[Array, "n width"]:
    del mask
    return jax.nn.relu(x)


class Dice(nnx.Module):
  """p x + (1 - p) slope x with p = sigmoid((x - mean) / sqrt(variance + eps)).

  Mean and variance are those of the whole batch, over all devices, and running
  averages of them in evaluation.

  Source: DIN, https://arxiv.org/abs/1706.06978, section 5.2.
  """

  EPSILON = 1e-9
  MOMENTUM = 0.99
  """Share of a running average that a step keeps."""

  def __init__(self, width: int, total: Total = alone):
    self.slope = nnx.Param(jnp.zeros(width, jnp.float32))
    self.mean = nnx.BatchStat(jnp.zeros(width, jnp.float32))
    self.variance = nnx.BatchStat(jnp.ones(width, jnp.float32))
    self.use_running_average = False  # Set by nnx's train() and eval().
    self.total = total

  def __call__(
    self, x: Float[Array, "n width"], mask: Bool[Array, " n"] | None = None
  ) -> Float[Array, "n width"]:
    """Applies the activation.

    Args:
      x: inputs.
      mask: entries that count; None: all do.
    """
    if self.use_running_average:
      mean, variance = self.mean[...], self.variance[...]
    else:
      mean, variance = self._moments(x, mask)
    shape = x.shape
    scale = jax.lax.rsqrt(variance + self.EPSILON)
    centred = x - jnp.broadcast_to(mean, shape)
    on = jax.nn.sigmoid(centred * jnp.broadcast_to(scale, shape))
    slope = jnp.broadcast_to(self.slope[...], shape)
    return on * x + (1 - on) * slope * x

  def _moments(self, x, mask):
    """Mean and variance over the batch; remembers them for evaluation."""
    weight = jnp.ones(x.shape[0]) if mask is None else mask.astype(x.dtype)
    count = jnp.maximum(self.total(weight.sum()), 1)
    mean = self.total(weight @ x) / count
    # About the mean: a difference of squares would lose the small variances.
    offset = x - jnp.broadcast_to(mean, x.shape)
    variance = self.total(weight @ offset**2) / count
    for average, now in ((self.mean, mean), (self.variance, variance)):
      kept = self.MOMENTUM * average[...]
      average[...] = kept + (1 - self.MOMENTUM) * jax.lax.stop_gradient(now)
    return mean, variance


ACTIVATIONS: dict[str, Callable[[int, Total], nnx.Module]] = {
  "dice": Dice,
  "prelu": PReLU,
  "relu": ReLU,
}
"""(width, total) -> activation. DICM has PReLU (paper, section 4.1)."""


OUTPUTS: dict[str, Callable[[Array], Array]] = {
  "linear": lambda x: x,
  "relu": jax.nn.relu,
}
"""What happens to the numbers of a last layer."""


class MLP(nnx.Module):
  """Linear layers of the given widths, with activations between them.

  Args:
    widths: of the inputs and of each layer's outputs.
    activation: between the layers, a key of ACTIVATIONS.
    output: after the last layer, a key of OUTPUTS.
    total: sums over the devices that share a batch.
    rngs: stream of the initial weights.
  """

  def __init__(
    self,
    widths: Sequence[int],
    *,
    activation: str = "prelu",
    output: str = "linear",
    total: Total = alone,
    rngs: nnx.Rngs,
  ):
    make = ACTIVATIONS[activation]
    self.linear = nnx.List(
      [nnx.Linear(i, o, rngs=rngs) for i, o in itertools.pairwise(widths)]
    )
    self.activations = nnx.List([make(w, total) for w in widths[1:-1]])
    self.output = OUTPUTS[output]

  def __call__(
    self, x: Float[Array, "n in"], mask: Bool[Array, " n"] | None = None
  ) -> Float[Array, "n out"]:
    """Applies the layers; `mask` says which rows are no padding."""
    for linear, activation in zip(self.linear, self.activations, strict=False):
      x = activation(linear(x), mask)
    return self.output(self.linear[-1](x))
