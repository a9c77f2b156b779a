"""From a net's outputs to a logit, and from logits to the loss."""

from collections.abc import Sequence

import jax
from jaxtyping import Array, Float


def logit(outputs: Float[Array, "n _"]) -> Float[Array, " n"]:
  """The logit of a click of a net with one output, or of a softmax over two.

  >>> logit(jax.numpy.array([[1.0, 3.0]])).tolist()
  [2.0]
  """
  if outputs.shape[1] == 1:
    return outputs[:, 0]
  return outputs[:, 1] - outputs[:, 0]


def log_loss(
  logits: Float[Array, " b"], labels: Float[Array, " b"]
) -> Float[Array, " b"]:
  """Cross-entropy of each sample, in nats.

  >>> log_loss(jax.numpy.zeros(1), jax.numpy.ones(1)).round(4).tolist()
  [0.6930999755859375]
  """
  return jax.nn.softplus(logits) - labels * logits


def of_heads(
  heads: Sequence[Float[Array, " b"]], labels: Float[Array, " b"]
) -> Float[Array, " b"]:
  """Cross-entropy of the prediction, with the gradient of all heads' sum.

  >>> one, zero = jax.numpy.ones(1), jax.numpy.zeros(1)
  >>> of_heads([zero, one], one).tolist() == log_loss(zero, one).tolist()
  True

  Args:
    heads: logits that learn, the prediction first.
    labels: of each sample.
  """
  prediction, *others = (log_loss(head, labels) for head in heads)
  unseen = (loss - jax.lax.stop_gradient(loss) for loss in others)
  return sum(unseen, start=prediction)
