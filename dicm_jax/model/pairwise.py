"""Scores and losses of pairs of items beside an anchor.

Source: CNN embeddings for ad ranking, JD.com: a siamese network, trained so
that a clicked item scores above one that was not.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

MARGIN = 1.0
"""By which hinge loss wants the clicked item ahead."""


def score(x: Float[Array, "n D"], y: Float[Array, "n D"]) -> Float[Array, " n"]:
  """Inner product of two embeddings, over sqrt(D).

  The root keeps first scores near 1 whatever the width (Vaswani et al. 2017,
  https://arxiv.org/abs/1706.03762, section 3.2.1); it changes no order. Not the
  cosine: an embedding's length says how much everybody likes the item.

  >>> score(jnp.ones((1, 4)), jnp.array([[1.0, 2.0, 3.0, 4.0]])).tolist()
  [5.0]
  """
  return jnp.sum(x * y, axis=1) / jnp.sqrt(x.shape[1])


def logistic(lead: Float[Array, " n"]) -> Float[Array, " n"]:
  """log(1 + exp(-lead)): Burges et al. 2005 (RankNet), equation 3.

  >>> round(logistic(jnp.zeros(1)).item(), 4)
  0.6931
  """
  return jax.nn.softplus(-lead)


def hinge(lead: Float[Array, " n"]) -> Float[Array, " n"]:
  """max(0, margin - lead): Joachims 2002, https://doi.org/10.1145/775047.775067.

  >>> hinge(jnp.array([-1.0, 0.5, 2.0])).tolist()
  [2.0, 0.5, 0.0]
  """
  return jnp.maximum(MARGIN - lead, 0)


LOSSES: dict[str, Callable[[Float[Array, " n"]], Float[Array, " n"]]] = {
  "hinge": hinge,
  "logistic": logistic,
}
"""From score(anchor, clicked) - score(anchor, other) to a loss."""
