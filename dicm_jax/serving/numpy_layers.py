"""Dense layers in NumPy, as `model/layers.py` has them in evaluation."""

from collections.abc import Callable, Mapping, Sequence
import itertools

from jaxtyping import Float, Int
import numpy as np

Parameters = Mapping[str, np.ndarray]
"""Arrays by dotted name, e.g. net.linear.0.kernel."""
Part = tuple[np.ndarray, np.ndarray | None]
"""Some of a layer's inputs, [m, W], and which of its rows each sample reads;
None: row i is sample i's."""

_DICE_EPSILON = 1e-9


def sigmoid(x: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
  """1 / (1 + exp(-x)), without overflow.

  >>> sigmoid(np.array([-1000.0, 0.0, 1000.0])).tolist()
  [0.0, 0.5, 1.0]
  """
  small = np.exp(-np.abs(x))
  return np.where(x >= 0, 1, small) / (1 + small)


def unit(vectors: Float[np.ndarray, "n E"]) -> Float[np.ndarray, "n E"]:
  """Vectors of length 1 in the same directions; zeros stay zeros."""
  length = np.linalg.norm(vectors, axis=1, keepdims=True)
  return vectors / np.maximum(length, 1e-9)


def _prelu(p: Parameters, name: str, x: np.ndarray) -> np.ndarray:
  below = np.minimum(x, 0)
  below *= p[f"{name}.slope"] - np.float32(1)
  return x + below


def _relu(p: Parameters, name: str, x: np.ndarray) -> np.ndarray:
  del p, name
  return np.maximum(x, 0)


def _dice(p: Parameters, name: str, x: np.ndarray) -> np.ndarray:
  scale = 1 / np.sqrt(p[f"{name}.variance"] + np.float32(_DICE_EPSILON))
  on = sigmoid((x - p[f"{name}.mean"]) * scale)
  return on * x + (1 - on) * p[f"{name}.slope"] * x


ACTIVATIONS: dict[str, Callable[[Parameters, str, np.ndarray], np.ndarray]] = {
  "dice": _dice,
  "prelu": _prelu,
  "relu": _relu,
}
"""(parameters, name of the layer, inputs) -> outputs."""


class MLP:
  """Linear layers with activations between them.

  Args:
    parameters: of all layers.
    name: where the MLP's begin.
    activation: a key of ACTIVATIONS.
    output: after the last layer, linear or relu.
  """

  def __init__(
    self, parameters: Parameters, name: str, activation: str, output: str
  ):
    self._parameters, self._name = parameters, name
    self._activate = ACTIVATIONS[activation]
    self._output = output
    self._layers = []
    while f"{name}.linear.{len(self._layers)}.kernel" in parameters:
      at = f"{name}.linear.{len(self._layers)}"
      layer = parameters[f"{at}.kernel"], parameters[f"{at}.bias"]
      self._layers.append(layer)

  def __call__(self, parts: Sequence[Part]) -> Float[np.ndarray, "n out"]:
    """Applies the layers to inputs side by side.

    What many samples read is multiplied once: the user's share of the first
    layer once a page view.
    """
    (kernel, bias), *rest = self._layers
    x = side_by_side(parts, kernel)
    x += bias
    for number, (kernel, bias) in enumerate(rest):
      name = f"{self._name}.activations.{number}"
      x = self._activate(self._parameters, name, x) @ kernel + bias
    return np.maximum(x, 0) if self._output == "relu" else x


def side_by_side(
  parts: Sequence[Part], kernel: Float[np.ndarray, "W o"]
) -> Float[np.ndarray, "n o"]:
  """concat(parts) @ kernel, each part by its own rows of the kernel.

  What is each sample's own is multiplied in one product, of whatever is shared
  each row once.
  """
  bounds = np.cumsum([0, *(x.shape[1] for x, _ in parts)])
  assert bounds[-1] == len(kernel)
  rows = [kernel[a:b] for a, b in itertools.pairwise(bounds)]
  own = [i for i, (_, index) in enumerate(parts) if index is None]
  total = np.concatenate([parts[i][0] for i in own], axis=1) @ np.concatenate(
    [rows[i] for i in own]
  )
  for (x, index), its in zip(parts, rows, strict=True):
    if index is not None:
      total += (x @ its)[index]
  return total


def reduced(
  reduce: np.ufunc,
  rows: Float[np.ndarray, "P D"],
  offsets: Int[np.ndarray, " starts"],
) -> Float[np.ndarray, "_ D"]:
  """Each list of rows in one, an empty one being zeros.

  >>> rows = np.array([[1.0], [2.0], [4.0]])
  >>> reduced(np.add, rows, np.array([0, 2, 2, 3])).tolist()
  [[3.0], [0.0], [4.0]]
  """
  out = np.zeros((len(offsets) - 1, rows.shape[1]), rows.dtype)
  there = np.diff(offsets) > 0
  if there.any():
    out[there] = reduce.reduceat(rows, offsets[:-1][there], axis=0)
  return out
