"""The inputs of an exported network by name: their shapes, and a batch's.

Dimensions have names: `samples`, `groups` (page views), `id_rows` and
`image_rows` (distinct rows), `behaviours`, `image_pairs`, `id_pairs`, and
`entries_k` for the lists of the k-th field that has any. All of them are free.
"""

from collections.abc import Mapping
from typing import NamedTuple

from jaxtyping import Float
import numpy as np

from dicm_jax.data import batch as batch_lib
from dicm_jax.serving import fields as fields_lib

ID_VECTORS, IMAGE_VECTORS = "id_vectors", "image_vectors"


class Spec(NamedTuple):
  """One input."""

  shape: tuple[str | int, ...]
  dtype: str


def specs(
  fields: fields_lib.Fields, widths: Mapping[str, int]
) -> dict[str, Spec]:
  """All inputs of the network of a bundle.

  Args:
    fields: what it reads.
    widths: numbers of a vector, of `ids` and of `images`.
  """
  layout = fields.layout

  def index(dimension: str) -> Spec:
    return Spec((dimension,), "int32")

  out = {
    ID_VECTORS: Spec(("id_rows", widths["ids"]), "float32"),
    IMAGE_VECTORS: Spec(("image_rows", widths["images"]), "float32"),
    "ad_dense": Spec(("samples", _width(fields, "ad", "context")), "float32"),
    "user_dense": Spec(("groups", _width(fields, "user")), "float32"),
    "group": index("samples"),
    "history_length": index("groups"),
    "ad_image": index("samples"),
    "behaviours.place": index("behaviours"),
    "behaviours.owner": index("behaviours"),
    **{
      f"{pairs}.{part}": index(pairs)
      for pairs in ("image_pairs", "id_pairs")
      for part in ("entry", "sample")
    },
    **{f"ad_ids.{name}": index("samples") for name in layout.ad_fields},
  }
  weighted = {field.name for field in fields.ids if field.weighted}
  lists = [
    *(("user_ids", name) for name in layout.user_fields),
    *(("ad_lists", name) for name in layout.ad_list_fields),
  ]
  for number, (side, name) in enumerate(lists):
    dimension = entries(number)
    out[f"{side}.{name}.place"] = index(dimension)
    out[f"{side}.{name}.owner"] = index(dimension)
    if name in weighted:
      out[f"{side}.{name}.weight"] = Spec((dimension,), "float32")
  return out


def entries(number: int) -> str:
  """Dimension of the entries of a field with lists, users' fields first."""
  return f"entries_{number}"


def _width(fields: fields_lib.Fields, *sides: fields_lib.Side) -> int:
  return sum(field.width for field in fields.numbers(*sides))


def of_batch(
  batch: batch_lib.Batch,
  ids: Float[np.ndarray, "R D"],
  images: Float[np.ndarray, "I E"],
) -> dict[str, np.ndarray]:
  """The inputs of a batch on one device.

  Args:
    batch: of one slice.
    ids: vectors of all rows of the stacked ID table.
    images: vectors of all image rows.
  """
  out = {
    ID_VECTORS: _rows(ids, batch.id_rows[0]),
    IMAGE_VECTORS: _rows(images, batch.image_rows[0]),
  }
  inputs = batch.inputs
  for name in ("ad_dense", "user_dense", "group", "history_length", "ad_image"):
    out[name] = inputs[name][0]
  out["behaviours.place"], out["behaviours.owner"] = _two(inputs["behaviours"])
  for pairs in ("image_pairs", "id_pairs"):
    out[f"{pairs}.entry"], out[f"{pairs}.sample"] = _two(inputs[pairs])
  for name, rows in inputs["ad_ids"].items():
    out[f"ad_ids.{name}"] = rows[0]
  for side in ("user_ids", "ad_lists"):
    for name, (place, owner, weight) in inputs[side].items():
      out[f"{side}.{name}.place"] = place[0]
      out[f"{side}.{name}.owner"] = owner[0]
      if weight is not None:
        out[f"{side}.{name}.weight"] = weight[0]
  return out


def _two(arrays) -> tuple[np.ndarray, np.ndarray]:
  return arrays[0][0], arrays[1][0]


def _rows(table: np.ndarray, rows: np.ndarray) -> np.ndarray:
  """Rows of a table; zeros where there is none."""
  found = table[np.maximum(rows, 0)]
  found[rows < 0] = 0
  return found
