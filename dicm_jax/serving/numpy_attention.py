"""The paper's attention in NumPy: `model/attention.py`'s Channel.

A pair's hidden layer is key + query, and PReLU of x is a x + b |x| with a and b
of its slope. So all but |x| is multiplied once a behaviour and once an ad, and
what is done for each pair is one sum, one |.| and one product.
"""

from typing import NamedTuple

from jaxtyping import Float
import numpy as np

from dicm_jax.serving import pair_kernel
from dicm_jax.serving.numpy_layers import Parameters

_PAIRS = 2048
"""Pairs at a time: 64 float32 of each are 512 kB, half of a core's cache."""


class _Folded(NamedTuple):
  """A PReLU and the linear layer behind it, of x and of |x|."""

  of_x: np.ndarray
  of_size: np.ndarray
  bias: np.ndarray


class Channel:
  """Weighs a user's behaviours by an ad; see Channel of `model/attention.py`.

  Args:
    parameters: of all layers.
    name: where the channel's begin.
    normalize: how weights are scaled: none, length or softmax.
  """

  def __init__(self, parameters: Parameters, name: str, normalize: str):
    def folded(activation: str, linear: str) -> _Folded:
      slope = parameters[f"{name}.{activation}.slope"][:, None]
      kernel = parameters[f"{name}.{linear}.kernel"]
      bias = parameters[f"{name}.{linear}.bias"]
      return _Folded((1 + slope) / 2 * kernel, (1 - slope) / 2 * kernel, bias)

    self._of_key = parameters[f"{name}.of_key.kernel"]
    self._bias = parameters[f"{name}.of_key.bias"]
    self._of_query = parameters[f"{name}.of_query.kernel"]
    self._first = folded("activation", "rest.linear.0")
    self._second = folded("rest.activations.0", "rest.linear.1")
    self._normalize = normalize
    self._weigh = pair_kernel.compiled() or _by_numpy

  def weigh(
    self,
    behaviours: Float[np.ndarray, "L D"],
    queries: Float[np.ndarray, "a E"],
  ) -> Float[np.ndarray, "a L"]:
    """What each behaviour weighs for each ad, before it is scaled."""
    weight = np.empty((len(queries), len(behaviours)), np.float32)
    if not weight.size:
      return weight
    keys = behaviours @ self._of_key + self._bias
    asked = queries @ self._of_query
    linear_keys = keys @ self._first.of_x + self._first.bias
    linear_asked = asked @ self._first.of_x
    self._weigh(
      asked,
      keys,
      linear_asked,
      linear_keys,
      self._first.of_size,
      np.ascontiguousarray(self._second.of_x[:, 0]),
      np.ascontiguousarray(self._second.of_size[:, 0]),
      self._second.bias[0],
      weight,
    )
    return weight

  def joined(
    self,
    weight: Float[np.ndarray, "a L"],
    behaviours: Float[np.ndarray, "L D"],
  ) -> Float[np.ndarray, "a D"]:
    """The sum of one user's behaviours for each ad, by weights of `weigh`."""
    if not weight.size:
      return np.zeros((len(weight), behaviours.shape[1]), np.float32)
    return self.scaled(weight) @ behaviours

  def scaled(
    self, weight: Float[np.ndarray, "a L"]
  ) -> Float[np.ndarray, "a L"]:
    """Weights as they are summed by; of at least one behaviour."""
    if self._normalize == "length":
      return weight / np.float32(weight.shape[1])
    if self._normalize == "softmax":
      odds = np.exp(weight - weight.max(axis=1, keepdims=True))
      return odds / odds.sum(axis=1, keepdims=True)
    return weight


def _by_numpy(
  asked,
  keys,
  linear_asked,
  linear_keys,
  of_size,
  last_of_x,
  last_of_size,
  bias,
  weight,
) -> None:
  """What `pair_kernel` does, where there is no Numba; the same arguments."""
  step = max(_PAIRS // len(keys), 1)
  for start in range(0, len(asked), step):
    some = slice(start, start + step)
    pair = asked[some, None] + keys
    np.abs(pair, out=pair)
    # One product of all pairs: of three axes NumPy makes one for each ad.
    hidden = pair.reshape(-1, pair.shape[2]) @ of_size
    by_pair = hidden.reshape(*pair.shape[:2], -1)
    by_pair += linear_keys
    by_pair += linear_asked[some, None]
    out = hidden @ last_of_x
    np.abs(hidden, out=hidden)
    out += hidden @ last_of_size
    weight[some] = out.reshape(pair.shape[:2]) + bias
