"""What a search page asks with: vectors of queries, made for these items."""

from collections.abc import Sequence
import pathlib

from dicm_jax import errors, query_encoder, shop
from dicm_jax.data import vectors


def asked(
  of: shop.Shop, *, table: str, encoder: str, query: str
) -> vectors.Vectors | None:
  """The vectors that flags name.

  Args:
    of: the items, and where known their data set.
    table: of vectors; "": none.
    encoder: folder of a run whose encoder embeds the query; "": none.
    query: its text; "": all queries of the data set.

  Returns:
    None where there is neither a table nor an encoder.

  Raises:
    InputError: a table or encoder cannot be read, the query has no word, the
      data set has no queries, or the encoder was trained for other items.
  """
  if table:
    found = vectors.read(pathlib.Path(table))
  elif encoder:
    made = query_encoder.load(pathlib.Path(encoder))
    if query:
      query_encoder.check_words([query], "--query")
    found = query_encoder.table(made, [query] if query else _known(of))
  else:
    return None
  items = of.items
  if found.items and items.digest and found.items != items.digest:
    raise errors.InputError(
      "expected items embedded by the encoder that was trained with the "
      f"queries' (digest {found.items[:8]}), found those of "
      f"{items.encoder or 'another'} ({items.digest[:8]}); make them by "
      "dicm_jax.prepare --encoder=RUN --out=FILE and give --vectors=FILE"
    )
  return found


def _known(of: shop.Shop) -> Sequence[str]:
  """Queries of the data set, whose page views --evaluate asks by."""
  found = shop.data_of(of, "--evaluate").queries
  if not found:
    raise errors.InputError(
      "--evaluate: with --encoder expected a data set with search queries, "
      'found none; prepare it with [log] query = "COLUMN" in its schema'
    )
  return found
