"""What retrieval looks through: items' vectors and the data set they are of."""

import dataclasses
import pathlib

from jaxtyping import Int
import numpy as np

from dicm_jax import errors, features, progress, retrieval
from dicm_jax.data import (
  click_log,
  feature_files,
  held_out,
  history,
  prepared,
  sample,
  vectors,
)
from dicm_jax.model import backbone as backbone_lib

SAMPLE = "sample"
"""In place of a data set's folder: the built-in sample."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Shop:
  """Items, and where known their pictures and the users."""

  items: vectors.Vectors
  data: click_log.Dataset | None = None
  path: pathlib.Path | None = None
  """Of a prepared data set; None: the sample, or there are no data."""


def load(vectors_path: str, data_path: str) -> Shop:
  """Opens what the flags --vectors and --data name.

  Args:
    vectors_path: a table or a folder features/ENCODER; "": the features of the
      data set, for the sample SqueezeNet's.
    data_path: a prepared data set or SAMPLE; "": none beside vectors, else the
      sample.

  Raises:
    InputError: one of them cannot be read, or the data set holds features of
      no encoder or of several.
  """
  data_path = data_path or ("" if vectors_path else SAMPLE)
  path = pathlib.Path(data_path) if data_path not in ("", SAMPLE) else None
  if vectors_path:
    items = vectors.read(pathlib.Path(vectors_path))
  elif path:
    items = vectors.read(_only_features(path))
  else:
    items = sample_vectors(sample.load_catalogue())
  if path:
    return Shop(items=items, data=prepared.load(path), path=path)
  data = sample.generate().dataset if data_path else None
  return Shop(items=items, data=data)


def sample_vectors(catalogue: sample.Catalogue) -> vectors.Vectors:
  """SqueezeNet features of the sample's photographs, cached."""
  backbone = backbone_lib.make("squeezenet")
  values = features.frozen_features(
    catalogue.pictures,
    catalogue.names,
    backbone,
    cache_dir=features.cache_dir(),
    on_progress=progress.Counter(f"{backbone.name} features").part(),
  )
  return vectors.Vectors(
    keys=catalogue.names,
    values=values,
    encoder=backbone.name,
    digest=backbone.digest,
  )


def _only_features(path: pathlib.Path) -> pathlib.Path:
  prepared.read_manifest(path)
  names = [encoder.folder for encoder in feature_files.encoders(path)]
  if len(names) != 1:
    raise errors.InputError(
      f"--data: expected the features of one encoder in {path}, found "
      f"{', '.join(names) or 'none'}; name a table or folder with --vectors"
    )
  return path / feature_files.FOLDER / names[0]


def data_of(shop: Shop, flag: str) -> click_log.Dataset:
  """The data set.

  Raises:
    InputError: there is none, and `flag` needs it.
  """
  if shop.data is None:
    raise errors.InputError(
      f"{flag}: expected --data too, found --vectors alone"
    )
  return shop.data


def past_of(shop: Shop, user: str) -> Int[np.ndarray, " n"]:
  """Items that a user has clicked, oldest first, as far as the log goes.

  That is the history of the user's latest page view, in the test split if it
  has one, and the clicks on it.

  Args:
    shop: with a data set.
    user: key of the user; the sample's are numbers from 0.

  Raises:
    InputError: there is no such user, or no clicks on items.
  """
  data = data_of(shop, "--user")
  images = _past_images(shop, data, user)
  items = held_out.item_of_image(data, shop.items.keys)[images]
  items = items[items != held_out.NONE]
  if not len(items):
    raise errors.InputError(
      f"--user: expected a user with clicks on some of the items, {user!r} has "
      "none"
    )
  return items


def _past_images(
  shop: Shop, data: click_log.Dataset, user: str
) -> Int[np.ndarray, " n"]:
  known: list[str] = []
  for split, log in (("test", data.test), ("train", data.train)):
    names = _user_names(shop, split, log)
    if user in names:
      group = _latest(log, names.index(user))
      past = history.take(log.behaviour_images, np.array([group])).values
      clicked = (log.group == group) & (log.label == 1)
      return np.concatenate([past, log.ad_image[clicked]])
    known += names
  raise retrieval.no_such("--user", user, sorted(set(known)), "the users")


def _user_names(shop: Shop, split: str, log: click_log.ClickLog) -> list[str]:
  """Key of each of a split's users, in order of their numbers."""
  if shop.path:
    return prepared.user_keys(shop.path, split)
  return [str(number) for number in np.unique(log.user).tolist()]


def _latest(log: click_log.ClickLog, user: int) -> int:
  """A user's last page view; `user` counts those of the split, from 0."""
  groups = np.flatnonzero(log.user == np.unique(log.user)[user])
  time = groups if log.time is None else log.time[groups]
  return int(groups[np.lexsort((groups, time))[-1]])


def picture_of(shop: Shop, key: str) -> bytes | None:
  """An item's encoded picture; None: the data set has none.

  Raises:
    InputError: there is no data set.
  """
  data = data_of(shop, "--sheet")
  if key not in data.image_names or len(data.image_bytes) == 0:
    return None
  return data.image_bytes[data.image_names.index(key)]
