"""Titles of the sample's photographs and queries of its users.

Titles name what `appearance` measures; queries what a user is after, drawn from
the tastes behind the clicks. Both are made up, as the clicks are.
"""

from collections.abc import Sequence

from jaxtyping import Float, Int
import numpy as np

from dicm_jax.data.simulator import appearance

_WORDS = {
  "warmth": ("blue", "red"),
  "greenness": ("purple", "green"),
  "brightness": ("dark", "light"),
  "saturation": ("pale", "colourful"),
  "pattern": ("plain", "patterned"),
  "elongation": ("wide", "long"),
}
"""Of each attribute, for little and for much of it."""
_MUCH = 0.75
"""Standard deviations from which a title names an attribute."""
_SHARPNESS = 2.0
"""By which tastes, in logits, are multiplied before one of them is drawn."""


def titles(
  attributes: Float[np.ndarray, "R A"], categories: Sequence[str]
) -> tuple[str, ...]:
  """Title of each photograph, e.g. "dark patterned dress".

  Args:
    attributes: standardised, as in appearance.ATTRIBUTES.
    categories: name of each photograph's category.
  """
  out = []
  for numbers, category in zip(attributes.tolist(), categories, strict=True):
    named = zip(appearance.ATTRIBUTES, numbers, strict=True)
    said = [_WORDS[a][x > 0] for a, x in named if abs(x) > _MUCH]
    out.append(" ".join([*said, category]))
  return tuple(out)


def queries(category_names: Sequence[str]) -> tuple[str, ...]:
  """All queries there are: a word of each attribute with each category."""
  words = [word for a in appearance.ATTRIBUTES for word in _WORDS[a]]
  return tuple(f"{word} {name}" for word in words for name in category_names)


def draw_queries(
  rng: np.random.Generator,
  taste: Float[np.ndarray, "G A"],
  category_taste: Float[np.ndarray, "G C"],
) -> Int[np.ndarray, " G"]:
  """Draws what the user of each page view asks for, likelier what he likes.

  Args:
    rng: the source of randomness.
    taste: logits for each unit of an attribute, by page view.
    category_taste: logits for each category.

  Returns:
    Places in `queries`.
  """
  # A word for little of an attribute comes before that for much of it.
  of_words = np.stack([-taste, taste], axis=2).reshape(len(taste), -1)
  word = _draw(rng, of_words)
  return word * category_taste.shape[1] + _draw(rng, category_taste)


def _draw(
  rng: np.random.Generator, logits: Float[np.ndarray, "G K"]
) -> Int[np.ndarray, " G"]:
  """A place for each row, by the softmax of its logits (Gumbel's trick)."""
  return np.argmax(_SHARPNESS * logits + rng.gumbel(size=logits.shape), axis=1)
