"""The attention's work for each pair of an ad and a behaviour, in one pass.

By Numba where it is installed: a third of NumPy's time, for a pair's numbers do
not leave the cache, and without Python's lock, so that threads share the work.
"""

from collections.abc import Callable
import functools
import inspect

from jaxtyping import Float
import numpy as np

_PAIRS = 512
"""Pairs at a time: 64 float32 of each are 128 kB."""


@functools.cache
def compiled() -> Callable[..., None] | None:
  """The kernel `_weigh`, compiled; None where Numba is not installed."""
  try:
    import numba
    import scipy.linalg  # noqa: F401  Numba multiplies by its BLAS.
  except ModuleNotFoundError:
    return None
  # Sums in any order, as BLAS adds them too; NaN and infinity as they are.
  jit = numba.njit(fastmath={"contract", "nsz", "reassoc"}, nogil=True)
  return jit(inspect.unwrap(_weigh))  # Without checks of its types.


def _weigh(
  asked: Float[np.ndarray, "a H"],
  keys: Float[np.ndarray, "L H"],
  linear_asked: Float[np.ndarray, "a O"],
  linear_keys: Float[np.ndarray, "L O"],
  of_size: Float[np.ndarray, "H O"],
  last_of_x: Float[np.ndarray, " O"],
  last_of_size: Float[np.ndarray, " O"],
  bias: float,
  weight: Float[np.ndarray, "a L"],
) -> None:
  """Fills `weight`, see `numpy_attention.Channel.weigh`."""
  num_ads, num_keys = weight.shape
  width, outputs = of_size.shape
  step = min(max(_PAIRS // num_keys, 1), num_ads)
  pair = np.empty((step * num_keys, width), np.float32)
  hidden = np.empty((step * num_keys, outputs), np.float32)
  for start in range(0, num_ads, step):
    ads = min(step, num_ads - start)
    for a in range(ads):
      for b in range(num_keys):
        for h in range(width):
          pair[a * num_keys + b, h] = abs(asked[start + a, h] + keys[b, h])
    np.dot(pair, of_size, hidden)
    for a in range(ads):
      for b in range(num_keys):
        total = bias
        for o in range(outputs):
          x = hidden[a * num_keys + b, o]
          x += linear_asked[start + a, o] + linear_keys[b, o]
          total += x * last_of_x[o] + abs(x) * last_of_size[o]
        weight[start + a, b] = total
