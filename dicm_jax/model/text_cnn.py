"""A convolutional network over the words of a query or title (Q-CNN).

Source: Kim 2014, https://arxiv.org/abs/1408.5882, section 2: filters over
windows of words, the largest response of each over the text. CNN embeddings
for ad ranking, JD.com, embeds search queries by such a network.
"""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

NAME = "text_cnn"
"""In the place of a backbone's name, and in tables of queries' vectors."""
WORD_WIDTH = 32
"""Numbers of a word's embedding."""
WINDOWS = (1, 2, 3)
"""Words that a filter sees. Queries are short: Kim has 3 to 5 for sentences."""
FILTERS = 32
"""Of each window."""
NUMBERS_A_WORD = WORD_WIDTH + len(WINDOWS) * FILTERS
"""Embedding and responses of one word of a text."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextConfig:
  """What a text is to an encoder."""

  length: int
  """Words of a text; those after it are left out."""
  buckets: int
  """Numbers that words can have, by hash."""


class TextCNN(nnx.Module):
  """Token numbers to embeddings of `width` numbers, all of it trained.

  Args:
    width: D, length of an embedding.
    buckets: token numbers are 0, which stands for no word, to `buckets`.
    rngs: stream of the initial weights.
  """

  def __init__(self, width: int, *, buckets: int, rngs: nnx.Rngs):
    self.words = nnx.Embed(buckets + 1, WORD_WIDTH, rngs=rngs)
    self.windows = nnx.List(
      nnx.Conv(
        WORD_WIDTH,
        FILTERS,
        kernel_size=(size,),
        padding=[(0, size - 1)],
        kernel_init=nnx.initializers.he_normal(),
        rngs=rngs,
      )
      for size in WINDOWS
    )
    self.head = nnx.Linear(len(WINDOWS) * FILTERS, width, rngs=rngs)

  def __call__(self, tokens: Int[Array, "n length"]) -> Float[Array, "n D"]:
    """Embeds texts; float32, the same whatever padding follows them."""
    there = (tokens > 0)[..., None]
    words = jnp.where(there, self.words(tokens), 0.0)
    # A window counts where it begins at a word: responses are not negative.
    found = [
      jnp.max(jnp.where(there, jax.nn.relu(window(words)), 0.0), axis=1)
      for window in self.windows
    ]
    return self.head(jnp.concatenate(found, axis=1))
