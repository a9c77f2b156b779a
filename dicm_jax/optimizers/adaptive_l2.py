"""An L2 penalty that frequent rows feel no more often than rare ones.

Source: "Deep Interest Network", https://arxiv.org/abs/1706.06978, section 5.1,
where it is called mini-batch aware regularisation.
"""

from typing import NamedTuple

import jax
from jaxtyping import Float
import numpy as np
import optax


class State(NamedTuple):
  """What each row remembers."""

  inverse_count: jax.Array
  """float32 [..., 1]: 1 / n_j; never changes."""


def add_adaptive_l2(
  strength: float, inverse_counts: Float[np.ndarray, "buckets slots 1"]
) -> optax.GradientTransformation:
  """Adds strength / n_j * w_j to the gradient of each touched row j.

  n_j is the number of training samples that have the row. A row is touched by
  n_j batches of an epoch at most, by exactly n_j where no batch has it twice,
  and the sum of what is added over an epoch is then strength * w_j, be the row
  rare or frequent.

  The loss is the mean over a batch of B samples, as in the paper. Its
  gradients over an epoch sum to those of 1 / B times the summed loss. So an
  epoch minimises, but for the steps' own rates,

    summed loss + B * strength / 2 * sum_j m_j / n_j * |w_j|^2,

  where m_j <= n_j is the number of batches that touch row j: against the data
  the penalty weighs B * strength for a rare row, and less, m_j / n_j of it,
  for one that is in many samples of each batch. Twice the batch doubles it.

  Args:
    strength: the paper's lambda, >= 0.
    inverse_counts: 1 / n_j of every row of the table.
  """

  def init(params):
    # Laid over the devices as the table is, with no stop at one of them.
    return State(jax.device_put(inverse_counts, params.sharding))

  def update(updates, state, params=None):
    assert params is not None
    return updates + strength * state.inverse_count * params, state

  return optax.GradientTransformation(init, update)
