"""Titles and queries as rows of token numbers: what a text encoder reads."""

from collections.abc import Sequence
import itertools
import re
import unicodedata

from jaxtyping import Int
import numpy as np
import pyarrow as pa

from dicm_jax.data.preparation import vocabulary

VERSION = 1
"""Grows whenever the same text gives other numbers: runs depend on it."""
PADDING = 0
# Chinese and Japanese put no spaces between words: a character counts as one.
_IDEOGRAPH = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_IDEOGRAPH}]|[^\W_{_IDEOGRAPH}]+")


LONGEST = 10_000
"""Letters of a text that are looked at."""


def words(text: str) -> list[str]:
  """Words of a text, without regard to case and to forms of a character.

  Those after its first `LONGEST` letters do not count: in letters with many
  accents, putting accents in order takes time by the square of their number.

  >>> words("Long RED dress, size 38")
  ['long', 'red', 'dress', 'size', '38']
  >>> words("红色dress")
  ['红', '色', 'dress']
  """
  normal = unicodedata.normalize("NFKC", text[:LONGEST])
  return _WORD.findall(normal.casefold())


def tokens(
  texts: Sequence[str], *, length: int, buckets: int
) -> Int[np.ndarray, "n length"]:
  """Token numbers of each text's first words.

  A word's number is 1 + its hash modulo `buckets`: no list of words is kept,
  and two words may share a number.

  Args:
    texts: n of them.
    length: words kept of a text; those after it are left out.
    buckets: numbers that words can have.

  Returns:
    int32, PADDING after a text's last word.
  """
  kept = [words(text)[:length] for text in texts]
  flat = pa.array(itertools.chain.from_iterable(kept), pa.string())
  lengths = np.array([len(k) for k in kept], int)
  out = np.full((len(kept), length), PADDING, np.int32)
  inside = np.arange(length) < lengths[:, None]
  out[inside] = vocabulary.hashed_rows(flat, buckets)
  return out
