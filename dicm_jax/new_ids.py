"""New ads' ids, which begin where those of their pictures' neighbours are."""

from collections.abc import Mapping
import pathlib

from jaxtyping import Int
import numpy as np
import pyarrow as pa
from pyarrow import csv
import pyarrow.parquet as pq

from dicm_jax import errors
from dicm_jax.data import click_log, files, quantise
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import delta, neighbours, vocabulary
from dicm_jax.serving import fields as fields_lib

IMAGE = "image"
"""Column: of a bundle's ids, the row of the picture that is shown with each; of
new ads, the key of theirs."""


def shown_with(
  log: click_log.ClickLog, field: fields_lib.IdField
) -> Int[np.ndarray, " rows"] | None:
  """Image row of the ads that a log shows with each id; -1: it shows none.

  None: the feature is not one that an ad has once.
  """
  if field.side != "ad" or field.many:
    return None
  rows = np.full(field.rows, -1, np.int64)
  rows[log.ad_ids[field.name]] = log.ad_image  # Of several the last.
  rows[vocabulary.UNKNOWN] = -1
  return rows


def read(path: pathlib.Path) -> tuple[str, dict[str, str]]:
  """A table of new ads: the feature's name, and the image key of each id.

  Args:
    path: Parquet, else CSV, with the columns `image` and a feature.

  Raises:
    InputError: it is no such table, or an id stands twice.
  """
  try:
    if path.suffix == ".parquet":
      table = pq.read_table(path)
    else:
      table = csv.read_csv(path)
    names = set(table.column_names)
    columns = {
      name: table[name].cast(pa.string()).to_pylist() for name in names
    }
  except (OSError, UnicodeDecodeError, pa.ArrowException) as e:
    raise errors.InputError(f"--new_ids: {path}: cannot be read: {e}") from e
  if len(names) != 2 or IMAGE not in names:
    raise errors.InputError(
      f"--new_ids: {path}: expected the columns {IMAGE!r} and a feature, found "
      f"{', '.join(map(repr, table.column_names))}"
    )
  (feature,) = names - {IMAGE}
  pairs = dict(zip(columns[feature], columns[IMAGE], strict=True))
  if len(pairs) != len(table) or not all(map(all, pairs.items())):
    raise errors.InputError(
      f"--new_ids: {path}: expected distinct ids, each with an image"
    )
  return feature, pairs


def of_neighbours(
  bundle: bundle_lib.Bundle, name: str, image_of: Mapping[str, str]
) -> dict[str, delta.Changes]:
  """What the ids of new ads add to a bundle, by feature.

  Past clicks speak of ads by rows of their own, which grow alike.

  Args:
    bundle: which knows the pictures.
    name: the feature.
    image_of: key of the picture by id; ids that are known are left out.

  Raises:
    InputError: the feature cannot grow, a picture is unknown, or training has
      shown no pictures with ids.
  """
  known = bundle.vocabularies.get(name)
  if not isinstance(known, vocabulary.Listed):
    raise errors.InputError(
      f"--new_ids: {name!r}: expected a feature of ads with a learned "
      f"vocabulary, found {', '.join(bundle.vocabularies)}"
    )
  new = [v for v in image_of if known.row(v) == vocabulary.UNKNOWN]
  if not new:
    return {}
  lost = [v for v in new if image_of[v] not in bundle.image_of]
  if lost:
    raise errors.InputError(
      f"--new_ids: id {lost[0]!r}: its image {image_of[lost[0]]!r} is neither "
      "in the bundle nor among the new pictures"
    )
  looks = bundle.images[[bundle.image_of[image_of[v]] for v in new]]
  rows, shown = _trained(bundle, name)
  out, end = {}, 0
  for field in bundle.fields.ids:
    begin, end = end, end + field.rows
    if name in (field.name, field.past_of):
      vectors = neighbours.id_vectors(
        looks, bundle.images[shown], bundle.ids[begin + rows]
      )
      packed = quantise.pack(vectors, bundle.manifest["dtype"])
      out[field.name] = delta.Changes(
        tuple(new), ("added",) * len(new), quantise.unpack(packed), None
      )
  return out


def _trained(bundle: bundle_lib.Bundle, name: str):
  """Rows of ids that training has shown with a picture, and its rows."""
  path = bundle.folder / bundle_lib.ids_file(name)
  if IMAGE not in files.column_names(path):
    raise errors.InputError(
      f"{path}: expected a column {IMAGE!r}; the feature is none of ads, or "
      "the bundle is of an older version"
    )
  shown = files.read_column(path, IMAGE).to_numpy()
  rows = np.flatnonzero(shown >= 0)
  # Pictures that were removed have no vectors any more.
  kept = np.array([key != "" for key in bundle.image_keys])
  rows = rows[kept[shown[rows]]]
  if not len(rows):
    raise errors.InputError(f"{path}: no id was shown with a picture")
  return rows, shown[rows]
