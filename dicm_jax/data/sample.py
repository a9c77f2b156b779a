"""The built-in data: photographs of clothes and simulated clicks on them.

The photographs are real (CC0, dicm_jax/data/clothing), the users and their
clicks are not. In return the true probability of every click is known, and
with it the best AUC that any model could have.
"""

import csv
import dataclasses
import hashlib
import logging
import pathlib

from jaxtyping import Bool, Float, Int
import numpy as np

from dicm_jax import errors
from dicm_jax.data import click_log, history
from dicm_jax.data.simulator import (
  appearance,
  click_model,
  traffic,
  wording,
)

_log = logging.getLogger(__name__)

FOLDER = pathlib.Path(__file__).parent / "clothing"
MS_A_DAY = 86_400_000
NOTICE = (
  "Built-in sample: clicks are simulated on CC0 photographs of clothes, and "
  "the true probability of each click is known."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Catalogue:
  """The photographs: R of them, in C categories, with A attributes."""

  names: tuple[str, ...]
  pictures: tuple[bytes, ...]
  """Encoded as JPEG."""
  category_names: tuple[str, ...]
  category: Int[np.ndarray, " R"]
  """Index into category_names."""
  attributes: Float[np.ndarray, "R A"]
  """Standardised visual attributes, named in appearance.ATTRIBUTES."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Truth:
  """What the simulator knows and no model may."""

  scales: click_model.Scales
  parameters: click_model.Parameters
  attributes: Float[np.ndarray, "R A"]
  category: Int[np.ndarray, " R"]
  """Category of each photograph, from 0: the ID feature less 1."""
  entry_day: Int[np.ndarray, " R"]
  """Day on which each photograph is first shown, from 0."""
  train_day: Int[np.ndarray, " G"]
  """Day of each group of the training split."""
  test_day: Int[np.ndarray, " T"]
  train_place: Int[np.ndarray, " n"]
  """Place on the page of each training sample, from 0."""
  test_place: Int[np.ndarray, " m"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
  """A data set together with the truth behind it."""

  dataset: click_log.Dataset
  truth: Truth
  behaviours_cut: int
  """Clicks left out of histories that were longer than the maximum."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Clicks:
  """What happened on the page views, training and test together."""

  probability: Float[np.ndarray, " n"]
  label: Float[np.ndarray, " n"]
  behaviours: click_log.Jagged


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Vocabulary:
  """ID of each image, user and category; 0 = never seen in training."""

  image: Int[np.ndarray, " R"]
  user: Int[np.ndarray, " N"]
  category: Int[np.ndarray, " R"]
  """Of each image: categories are a fixed list, known from the start."""


def load_catalogue(folder: pathlib.Path = FOLDER) -> Catalogue:
  """Reads the photographs in the order of images.csv and measures them.

  Raises:
    InputError: a file cannot be read, or is no whole picture.
  """
  table = _read(folder / "images.csv").decode().splitlines()
  rows = list(csv.DictReader(table))
  names = tuple(row["image"] for row in rows)
  pictures = tuple(_read(folder / name) for name in names)
  categories, category = np.unique(
    [row["category"] for row in rows], return_inverse=True
  )
  return Catalogue(
    names=names,
    pictures=pictures,
    category_names=tuple(categories.tolist()),
    category=category,
    attributes=appearance.measure_all(
      pictures, [str(folder / name) for name in names]
    ),
  )


def _read(file: pathlib.Path) -> bytes:
  try:
    return file.read_bytes()
  except OSError as e:
    raise errors.InputError(
      f"{file}: a file of the built-in sample cannot be read: {e.strerror}"
    ) from e


def generate(
  seed: int = 0,
  *,
  num_users: int = 2000,
  num_days: int = 20,
  max_history: int = 50,
  scales: click_model.Scales | None = None,
  catalogue: Catalogue | None = None,
) -> Sample:
  """Simulates a shop's click log; the last day is the test split.

  The same arguments give the same bits.

  Args:
    seed: of all random draws.
    num_users: users, with about a hundred impressions each.
    num_days: days of the log, at least 3.
    max_history: the latest clicks kept as a group's behaviours.
    scales: of the click model's terms; None for the defaults.
    catalogue: the photographs, at least a page full for the first day; None
      for those of the package.

  Returns:
    The data set, with 10 impressions a group on average, and its truth.

  Raises:
    ValueError: a number is out of its range.
  """
  if num_users < 1 or num_days < 3 or max_history < 1:
    raise ValueError(
      "expected num_users >= 1, num_days >= 3 and max_history >= 1, got "
      f"{num_users=}, {num_days=}, {max_history=}"
    )
  scales = scales or click_model.Scales()
  catalogue = catalogue or load_catalogue()
  # A stream for each purpose: changing one leaves the draws of the others.
  draws = np.random.Generator(np.random.PCG64(seed)).spawn(4)
  parameters = click_model.draw_parameters(
    draws[0],
    scales,
    num_users=num_users,
    num_images=len(catalogue.names),
    num_attributes=catalogue.attributes.shape[1],
    num_categories=len(catalogue.category_names),
  )
  shown = traffic.draw_traffic(
    draws[1], parameters.popularity, num_users=num_users, num_days=num_days
  )
  query = wording.draw_queries(
    draws[3],
    parameters.taste[shown.user],
    parameters.category_taste[shown.user],
  )
  clicks, cut = _click(
    draws[2], shown, catalogue, parameters, scales.noise, max_history
  )
  _log.info("sample: %d behaviours cut (max_history=%d)", cut, max_history)
  return Sample(
    dataset=_dataset(shown, clicks, query, catalogue, num_users, num_days - 1),
    truth=_truth(shown, catalogue, parameters, scales, num_days - 1),
    behaviours_cut=cut,
  )


def _click(
  rng: np.random.Generator,
  shown: traffic.Traffic,
  catalogue: Catalogue,
  parameters: click_model.Parameters,
  noise: float,
  max_history: int,
) -> tuple[_Clicks, int]:
  """Draws the clicks and gathers the histories; counts what was cut."""
  user = shown.user[shown.group]
  logit = click_model.click_logit(
    parameters,
    attributes=catalogue.attributes,
    category=catalogue.category,
    user=user,
    image=shown.image,
    place=shown.place,
  )
  mood = noise * rng.standard_normal(len(logit))
  probability = click_model.probability(logit, mood)
  clicked = rng.random(len(logit)) < probability
  behaviours, cut = history.earlier_clicks(
    group_user=shown.user,
    group_time=shown.day,
    click_user=user[clicked],
    click_time=shown.day[shown.group][clicked],
    click_value=shown.image[clicked],
    max_history=max_history,
  )
  clicks = _Clicks(
    probability=probability,
    label=clicked.astype(np.float32),
    behaviours=behaviours,
  )
  return clicks, cut


def _dataset(
  shown: traffic.Traffic,
  clicks: _Clicks,
  query: Int[np.ndarray, " G"],
  catalogue: Catalogue,
  num_users: int,
  last_day: int,
) -> click_log.Dataset:
  in_test = shown.day == last_day
  seen_images = np.unique(shown.image[~in_test[shown.group]])
  seen_users = np.unique(shown.user[~in_test])
  vocabulary = _Vocabulary(
    image=_rows(seen_images, len(catalogue.names)),
    user=_rows(seen_users, num_users),
    category=1 + catalogue.category,
  )
  num_image_rows = 1 + len(seen_images)
  num_category_rows = 1 + len(catalogue.category_names)
  features = (
    _feature("user_id", "user", 1 + len(seen_users)),
    _feature("behaviour_image_id", "user", num_image_rows, "ad_image_id"),
    _feature("behaviour_category", "user", num_category_rows, "ad_category"),
    _feature("ad_image_id", "ad", num_image_rows),
    _feature("ad_category", "ad", num_category_rows),
    click_log.Feature(
      name="position",
      side="ad",
      rows=1 + traffic.SESSION_LENGTHS[1],
      context=True,
    ),
  )
  return click_log.Dataset(
    features=features,
    train=_split(shown, clicks, query, vocabulary, ~in_test),
    test=_split(shown, clicks, query, vocabulary, in_test),
    image_names=catalogue.names,
    image_bytes=catalogue.pictures,
    titles=wording.titles(
      catalogue.attributes,
      [catalogue.category_names[c] for c in catalogue.category],
    ),
    queries=wording.queries(catalogue.category_names),
    digest=_digest(shown, clicks, query, catalogue),
    notice=NOTICE,
  )


def _digest(
  shown: traffic.Traffic,
  clicks: _Clicks,
  query: Int[np.ndarray, " G"],
  catalogue: Catalogue,
) -> str:
  """SHA-256 of the pictures and of all that was drawn."""
  found = hashlib.sha256()
  for picture in catalogue.pictures:
    found.update(picture)
  for drawn in (shown.user, shown.day, shown.image, clicks.label, query):
    found.update(drawn.tobytes())
  return found.hexdigest()


def _feature(
  name: str, side: click_log.Side, rows: int, past_of: str = ""
) -> click_log.Feature:
  return click_log.Feature(name=name, side=side, rows=rows, past_of=past_of)


def _rows(seen: Int[np.ndarray, " s"], size: int) -> Int[np.ndarray, " size"]:
  rows = np.zeros(size, int)
  rows[seen] = 1 + np.arange(len(seen))
  return rows


def _split(
  shown: traffic.Traffic,
  clicks: _Clicks,
  query: Int[np.ndarray, " G"],
  vocabulary: _Vocabulary,
  keep: Bool[np.ndarray, " G"],
) -> click_log.ClickLog:
  """The kept groups and their samples, numbered anew from 0."""
  groups = np.flatnonzero(keep)
  samples = keep[shown.group]
  image = shown.image[samples]
  behaviours = history.take(clicks.behaviours, groups)
  user = shown.user[groups]
  one_each = np.arange(len(groups) + 1)
  return click_log.ClickLog(
    user_ids={
      "user_id": click_log.Jagged(vocabulary.user[user], one_each),
      "behaviour_image_id": behaviours._replace(
        values=vocabulary.image[behaviours.values]
      ),
      "behaviour_category": behaviours._replace(
        values=vocabulary.category[behaviours.values]
      ),
    },
    ad_ids={
      "ad_image_id": vocabulary.image[image],
      "ad_category": vocabulary.category[image],
      "position": 1 + shown.place[samples],
    },
    behaviour_images=behaviours,
    ad_image=image,
    label=clicks.label[samples],
    group=(np.cumsum(keep) - 1)[shown.group[samples]],
    user=user,
    time=shown.day[groups] * MS_A_DAY,
    query=query[groups],
    true_probability=clicks.probability[samples],
  )


def _truth(
  shown: traffic.Traffic,
  catalogue: Catalogue,
  parameters: click_model.Parameters,
  scales: click_model.Scales,
  last_day: int,
) -> Truth:
  in_test = shown.day == last_day
  samples = in_test[shown.group]
  return Truth(
    scales=scales,
    parameters=parameters,
    attributes=catalogue.attributes,
    category=catalogue.category,
    entry_day=shown.entry_day,
    train_day=shown.day[~in_test],
    test_day=shown.day[in_test],
    train_place=shown.place[~samples],
    test_place=shown.place[samples],
  )
