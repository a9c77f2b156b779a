"""Ways to compare two embeddings and score the comparison, by name.

x is a user's embedding and y an ad's, both of n numbers. A structure makes
features of the two, gives each a learned weight, and adds up: its logit.
"""

from collections.abc import Sequence

from flax import nnx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dicm_jax.model import layers


class Dot(nnx.Module):
  """One feature, the dot product of x and y.

  Args:
    width: n, numbers of an embedding.
    hidden_widths: of a DNN's hidden layers; unused.
    activation: of a DNN's hidden layers; unused.
    total: sums over the devices that share a batch; unused.
    rngs: stream of the initial weights.
  """

  def __init__(
    self,
    width: int,
    *,
    hidden_widths: Sequence[int] = (),
    activation: str = "prelu",
    total: layers.Total = layers.alone,
    rngs: nnx.Rngs,
  ):
    del width, hidden_widths, activation, total
    self.weigh = _weights(1, rngs)

  def __call__(
    self,
    x: Float[Array, "G n"],
    y: Float[Array, "V n"],
    group: Int[Array, " b"],
    image: Int[Array, " b"],
  ) -> Float[Array, " b"]:
    """Logit of each sample.

    Args:
      x: embeddings of the users, one a group.
      y: embeddings of the distinct images.
      group: of each sample.
      image: of each sample's ad.
    """
    return self.weigh(jnp.sum(x[group] * y[image], 1, keepdims=True))[:, 0]


class Product(nnx.Module):
  """n features, the products of a number of x and its like of y.

  Arguments as Dot's.
  """

  def __init__(
    self,
    width: int,
    *,
    hidden_widths: Sequence[int] = (),
    activation: str = "prelu",
    total: layers.Total = layers.alone,
    rngs: nnx.Rngs,
  ):
    del hidden_widths, activation, total
    self.weigh = _weights(width, rngs)

  def __call__(
    self,
    x: Float[Array, "G n"],
    y: Float[Array, "V n"],
    group: Int[Array, " b"],
    image: Int[Array, " b"],
  ) -> Float[Array, " b"]:
    """Logit of each sample; arguments as Dot's."""
    return self.weigh(x[group] * y[image])[:, 0]


class DNN(nnx.Module):
  """`FEATURES` features, the last hidden layer of an MLP over x and y.

  Its first layer's share of x is computed once a group and that of y once an
  image, in place of both once a sample. Arguments as Dot's.
  """

  FEATURES = 8

  def __init__(
    self,
    width: int,
    *,
    hidden_widths: Sequence[int],
    activation: str,
    total: layers.Total = layers.alone,
    rngs: nnx.Rngs,
  ):
    widths = (*hidden_widths, self.FEATURES)
    self.of_x = nnx.Linear(width, widths[0], rngs=rngs)
    self.of_y = nnx.Linear(width, widths[0], use_bias=False, rngs=rngs)
    self.activation = layers.ACTIVATIONS[activation](widths[0], total)
    self.rest = layers.MLP(
      (*widths, 1), activation=activation, total=total, rngs=rngs
    )

  def __call__(
    self,
    x: Float[Array, "G n"],
    y: Float[Array, "V n"],
    group: Int[Array, " b"],
    image: Int[Array, " b"],
  ) -> Float[Array, " b"]:
    """Logit of each sample; arguments as Dot's."""
    first = self.of_x(x)[group] + self.of_y(y)[image]
    return self.rest(self.activation(first))[:, 0]


def _weights(features: int, rngs: nnx.Rngs) -> nnx.Linear:
  """A weight for each feature, 0 at first as an id's is."""
  return nnx.Linear(features, 1, kernel_init=nnx.initializers.zeros, rngs=rngs)


Structure = Dot | Product | DNN
STRUCTURES: dict[str, type[Structure]] = {
  "dnn": DNN,
  "dot": Dot,
  "product": Product,
}
