"""Pictures that a bundle may learn of: where they come from, and their keys."""

from collections.abc import Iterable, Iterator, Sequence
import itertools
import pathlib

from jaxtyping import Float
import numpy as np

from dicm_jax import errors, image_sources
from dicm_jax.data import feature_files, image_store, source
from dicm_jax.data.readers import pictures as pictures_lib
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import image_embedder, new_pictures

CHUNK = 8
"""Pictures of a call of the encoder, as `features.Encoder` has on a CPU."""
_AT_ONCE = 64
"""Encoded pictures in memory."""


class Folder:
  """A folder, tar or Parquet files of pictures, some of them new.

  Attributes:
    whole: whether a key that it lacks is one that is gone.
    rows: number of each key.
    sources: uint8 [n, 32], by number; see `Bundle.image_sources`.

  Raises:
    InputError: as `pictures.open_pictures`, or one cannot be read.
  """

  whole = False

  def __init__(self, path: pathlib.Path):
    self._pictures = pictures_lib.open_pictures(path, source.Bad())
    keys = list(self._pictures.keys())
    self.rows = {key: row for row, key in enumerate(keys)}
    read = self._pictures.read(frozenset(keys))
    self.sources = image_sources.of_pictures(data for _, data in read)

  def vectors(
    self, bundle: bundle_lib.Bundle, keys: Sequence[str]
  ) -> Float[np.ndarray, "n E"]:
    """Vectors of some keys, as the bundle makes them.

    Raises:
      InputError: a picture is damaged, or the bundle takes none.
    """
    read = self._pictures.read(frozenset(keys))
    found = dict(_embedded(bundle, read))
    return np.stack([found[key] for key in keys])


class Prepared:
  """The pictures of a prepared data set, which has all that there are.

  Attributes: as of `Folder`.

  Raises:
    InputError: the folder holds no images, or they are damaged.
  """

  whole = True

  def __init__(self, path: pathlib.Path):
    self._path = path
    keys, self.sources = image_sources.of_prepared(path)
    if not keys:
      raise errors.InputError(f"{path}: expected a data set with pictures")
    self.rows = {key: row for row, key in enumerate(keys) if key}

  def vectors(
    self, bundle: bundle_lib.Bundle, keys: Sequence[str]
  ) -> Float[np.ndarray, "n E"]:
    """As of `Folder`; features that are stored are not computed again."""
    rows = [self.rows[key] for key in keys]
    embed = image_embedder.ImageEmbedder(bundle)
    if bundle.manifest["encoder"]["mode"] == "features":
      found = feature_files.some(self._path, embed.digest, rows)
      if found is not None:
        return new_pictures.vectors_of(bundle, embed, found)
    store = image_store.ImageStore(self._path / image_store.FOLDER)
    order = sorted(rows)  # Files are opened once each.
    names = {row: key for row, key in zip(rows, keys, strict=True)}
    made = dict(_embedded(bundle, ((names[row], store[row]) for row in order)))
    return np.stack([made[key] for key in keys])


Catalogue = Folder | Prepared


def _embedded(
  bundle: bundle_lib.Bundle, pictures: Iterable[tuple[str, bytes]]
) -> Iterator[tuple[str, np.ndarray]]:
  """Yields keys and vectors of pictures, of which some are in memory."""
  embed = new_pictures.NewPictures(bundle, CHUNK)
  left = iter(pictures)
  while block := list(itertools.islice(left, _AT_ONCE)):
    keys = [key for key, _ in block]
    yield from zip(keys, embed([data for _, data in block], keys), strict=True)
