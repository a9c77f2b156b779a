"""Integrated gradients by differences: what each group of numbers adds.

Sundararajan et al. 2017, https://arxiv.org/abs/1703.01365, equation 1: a
group's share of f(x) - f(b) is the integral, along the straight line from the
baseline b to x, of the gradient times the group's part of x - b. Cut into
steps, that product is the difference of f at a step's two ends where the group
alone moves and all others stay in its middle: no gradient is needed, and the
error falls with the square of the steps, as the midpoint rule's does.
"""

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Float, Int
import numpy as np

TOLERANCE = 0.01
"""Of f(x) - f(b) that the shares may miss, as the paper advises (section 5)."""
FEW, MANY = 16, 256
"""Steps to begin with, doubled until the shares add up, and the most."""

_SMALL = 0.01
"""Differences below it are held to TOLERANCE of it: float32 ends somewhere."""


class Points(NamedTuple):
  """Places to evaluate f at.

  Group g of point p lies at `level[p]` of the way from the baseline to x, but
  for the group `moved[p]`, which lies at `moved_level[p]`.
  """

  level: Float[np.ndarray, " P"]
  moved: Int[np.ndarray, " P"]
  """-1: none."""
  moved_level: Float[np.ndarray, " P"]


class Shares(NamedTuple):
  """The result."""

  share: Float[np.ndarray, " g"]
  value: float
  """f(x)."""
  baseline: float
  """f(b)."""
  steps: int

  @property
  def missed(self) -> float:
    """Of f(x) - f(b), what the shares do not add up to."""
    return self.value - self.baseline - float(self.share.sum())


def shares(
  f: Callable[[Points], Float[np.ndarray, " P"]], groups: int
) -> Shares:
  """The share of each group.

  Args:
    f: the function at some points.
    groups: how many there are.

  Returns:
    Of as many steps as make the shares add up within TOLERANCE, or MANY.
  """
  none = np.array([-1, -1])
  baseline, value = f(Points(np.array([0.0, 1.0]), none, np.zeros(2))).tolist()
  steps = FEW
  while True:
    share = _share(f, groups, steps)
    found = Shares(share, value, baseline, steps)
    close = TOLERANCE * max(abs(value - baseline), _SMALL)
    if abs(found.missed) <= close or steps >= MANY:
      return found
    steps *= 2


def _share(f, groups: int, steps: int) -> Float[np.ndarray, " g"]:
  middle = (np.arange(steps) + 0.5) / steps
  level = np.tile(np.repeat(middle, groups), 2)
  moved = np.tile(np.tile(np.arange(groups), steps), 2)
  ends = np.repeat([0.5 / steps, -0.5 / steps], steps * groups)
  found = f(Points(level, moved, level + ends)).reshape(2, steps, groups)
  return (found[0] - found[1]).sum(axis=0)
