"""A trained encoder of queries: from texts to vectors in the items' space."""

from collections.abc import Sequence
import dataclasses
import pathlib

from flax import nnx
import jax
import jax.numpy as jnp
from jaxtyping import Float, PyTree
import numpy as np

from dicm_jax import errors
from dicm_jax.data import files, text, vectors
from dicm_jax.model import backbone, encoder_file, encoders, text_cnn

SIMILARITY = "inner"
"""Of a query and an item: what `pairwise.score` trains."""
BLOCK = 1024
"""Queries embedded at a time."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class QueryEncoder:
  """Shape, parameters, and what they belong to."""

  config: encoders.QueryConfig
  params: PyTree
  digest: str
  """SHA-256 of the file."""
  items: str
  """Digest of the items' encoder that was trained with it."""


def load(run: pathlib.Path) -> QueryEncoder:
  """Reads the encoder that a run of configs/pairwise.py left.

  Raises:
    InputError: the folder lacks an encoder of queries or of items, or one is
      damaged.
  """
  if not run.is_dir():
    raise errors.InputError(
      f"--encoder: expected the folder of {encoder_file.QUERIES.made_by}, "
      f"found no folder {run}"
    )
  config, params = encoder_file.read(run, encoder_file.QUERIES)
  items = backbone.make(backbone.TRAINED, weights=str(run))
  return QueryEncoder(
    config=config,
    params=params,
    digest=files.digest(run / encoder_file.QUERIES.file),
    items=items.digest,
  )


def embed(
  config: encoders.QueryConfig, params: PyTree, texts: Sequence[str]
) -> Float[np.ndarray, "Q D"]:
  """Embeds queries; one without a word is embedded as the empty text."""
  encoder = nnx.eval_shape(
    lambda: encoders.make_query(config, rngs=nnx.Rngs(0))
  )
  definition = nnx.split(encoder)[0]
  apply = jax.jit(lambda params, rows: nnx.merge(definition, params)(rows))
  tokens = text.tokens(
    texts, length=config.text.length, buckets=config.text.buckets
  )
  made = [np.zeros((0, config.width), np.float32)]
  for first in range(0, len(tokens), BLOCK):
    rows = tokens[first : first + BLOCK]
    short = min(BLOCK, len(tokens)) - len(rows)  # One shape is compiled.
    padded = np.pad(rows, ((0, short), (0, 0)))
    made.append(np.asarray(apply(params, jnp.asarray(padded)))[: len(rows)])
  return np.concatenate(made)


def table(encoder: QueryEncoder, texts: Sequence[str]) -> vectors.Vectors:
  """The vectors of distinct queries, by their texts."""
  return vectors.Vectors(
    keys=tuple(texts),
    values=embed(encoder.config, encoder.params, texts),
    encoder=text_cnn.NAME,
    digest=encoder.digest,
    similarity=SIMILARITY,
    items=encoder.items,
  )


def check_words(texts: Sequence[str], where: str) -> None:
  """Refuses a query that says nothing.

  Raises:
    InputError: one has no word; the message begins with `where`.
  """
  for query in texts:
    if not text.words(query):
      raise errors.InputError(
        f"{where}: expected a query of one word or more, found {query!r}"
      )
