"""The click model of the built-in sample: P(click) given all it depends on.

The simulator draws the parameters and asks this model for the truth; the
attainable ceiling estimates the parameters and asks the same model.
"""

import dataclasses

from jaxtyping import Float, Int
import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scales:
  """Standard deviations, in logits, of what the simulator draws.

  Together they spread the logit by about 1.6, so that the true probabilities
  reach an AUC near 0.81 at a click-through rate of a quarter. Real clicks are
  rarer and harder to tell; but two hundred thousand rare, hard clicks would
  leave no model anything to learn.
  """

  base: float = -1.2
  """Logit of an average photograph in the first place of the page."""
  fashion: float = 0.25
  """Of what the whole population likes, for each attribute: half of a user's
  own taste, so that the ad image alone says something and the history more."""
  taste: float = 0.55
  """Of one user's taste for each attribute, around the fashion. With six
  attributes the largest part, as these data are there to show whether a model
  sees."""
  category: float = 0.5
  """Of one user's taste for each category: as strong as for an attribute, and
  within the reach of ids alone."""
  item: float = 0.35
  """Of what is particular to one photograph (price, seller, ...) and not to
  be seen on it: only its id can learn it, and only once it was shown."""
  popularity: float = 0.5
  """Of the log rate at which a photograph is shown: from the rarest to the
  most frequent of a thousand, about a factor 25."""
  popularity_gain: float = 0.4
  """Logits by which a unit of that log rate makes a click likelier: shops
  show more often what sells."""
  place: float = 0.25
  """Logits lost with each unit of log(1 + place on the page)."""
  noise: float = 0.3
  """Of the mood of a single impression: part of the true probability, but out
  of reach of every model. Small, as not knowing the tastes hides far more."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parameters:
  """All numbers of the model: R photographs, A attributes, N users."""

  base: float
  taste: Float[np.ndarray, "N A"]
  """Logits for each unit of an attribute, the fashion included."""
  category_taste: Float[np.ndarray, "N C"]
  item: Float[np.ndarray, " R"]
  popularity: Float[np.ndarray, " R"]
  """Log rate at which the photograph is shown; its mean is 0."""
  popularity_gain: float
  place: float
  """Logits lost with each unit of log(1 + place)."""


def draw_parameters(
  rng: np.random.Generator,
  scales: Scales,
  *,
  num_users: int,
  num_images: int,
  num_attributes: int,
  num_categories: int,
) -> Parameters:
  """Draws the parameters from their Gaussian priors."""
  fashion = scales.fashion * rng.standard_normal(num_attributes)
  deviation = rng.standard_normal((num_users, num_attributes))
  category = rng.standard_normal((num_users, num_categories))
  return Parameters(
    base=scales.base,
    taste=fashion + scales.taste * deviation,
    category_taste=scales.category * category,
    item=scales.item * rng.standard_normal(num_images),
    popularity=scales.popularity * rng.standard_normal(num_images),
    popularity_gain=scales.popularity_gain,
    place=scales.place,
  )


def click_logit(
  parameters: Parameters,
  *,
  attributes: Float[np.ndarray, "R A"],
  category: Int[np.ndarray, " R"],
  user: Int[np.ndarray, " n"],
  image: Int[np.ndarray, " n"],
  place: Int[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
  """The logit of a click on each impression, the noise left out.

  Args:
    parameters: the true ones or estimates.
    attributes: standardised visual attributes, true or predicted.
    category: category of each photograph, from 0.
    user: user of each impression, from 0.
    image: photograph shown.
    place: place on the page, from 0.

  Returns:
    float64 [n]: base + taste . attributes + category taste + item effect
    + gain x popularity - loss x log(1 + place).
  """
  looks = np.einsum("na,na->n", parameters.taste[user], attributes[image])
  appeal = parameters.item + parameters.popularity_gain * parameters.popularity
  return (
    parameters.base
    + looks
    + parameters.category_taste[user, category[image]]
    + appeal[image]
    - parameters.place * np.log1p(place)
  )


def probability(
  logit: Float[np.ndarray, " n"],
  noise: Float[np.ndarray, " n"] | float = 0.0,
) -> Float[np.ndarray, " n"]:
  """The probability of a click: logistic(logit + noise).

  >>> probability(np.array([0.0, -1.0]), 1.0).round(3).tolist()
  [0.731, 0.5]
  """
  return 1.0 / (1.0 + np.exp(-(logit + noise)))
