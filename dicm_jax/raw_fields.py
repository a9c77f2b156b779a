"""What a data set calls its ids and numbers: what requests will say."""

from collections.abc import Sequence
import pathlib
from typing import NamedTuple

from jaxtyping import Float
import numpy as np

from dicm_jax.data import click_log, prepared, schema_file
from dicm_jax.data import field as field_lib
from dicm_jax.data import layout as layout_lib
from dicm_jax.data import schema as schema_lib
from dicm_jax.data.preparation import vocabulary
from dicm_jax.serving import fields as fields_lib

DENSE = "numbers"
"""Name of a side's numbers where the data set has none for them."""


_SIDES: dict[str, fields_lib.Side] = {
  "user": "user",
  "ad": "ad",
  "context": "context",
}


class Raw(NamedTuple):
  """Fields, and the values of those that have a vocabulary."""

  fields: fields_lib.Fields
  values: dict[str, Sequence[str]]
  """By field: value i for row i + 1."""


def of(
  data: click_log.Dataset, layout: layout_lib.Layout, path: str, sees_ad: bool
) -> Raw:
  """The fields of a data set.

  Args:
    data: the data set.
    layout: what batches hold of it.
    path: folder of the prepared data; "" for the built-in sample.
    sees_ad: whether the network sees pictures of ads.

  Raises:
    InputError: as `prepared.read_manifest`.
  """
  schema, dense = None, _unnamed(data.train)
  values: dict[str, Sequence[str]] = {}
  if path:
    manifest = prepared.read_manifest(pathlib.Path(path))
    schema = schema_file.from_dict(manifest["schema"])
    dense = _named(schema, manifest["dense"])
    values = _values(schema, pathlib.Path(path))
  ids = tuple(_id_field(f, data.train, schema, values) for f in data.features)
  sees_images = layout.ad_images or layout.behaviour_images
  fields = fields_lib.Fields(
    ids=ids,
    dense=dense,
    ad_images=sees_ad,
    behaviour_images=layout.behaviour_images,
    past_ids=layout.past_ids,
    image_rows=len(data.image_names) if sees_images else 0,
    no_image=data.no_image,
  )
  return Raw(fields, values)


def _id_field(
  feature: click_log.Feature,
  log: click_log.ClickLog,
  schema: schema_lib.Schema | None,
  values: dict[str, Sequence[str]],
) -> fields_lib.IdField:
  user = feature.side == "user"
  side = "user" if user else "context" if feature.context else "ad"
  many, kind, weighted = feature.lists, "rows", False
  if user:
    lists = log.user_ids[feature.name]
    weighted = lists.weights is not None
    many = bool(feature.past_of) or bool((lists.lengths != 1).any())
  elif many:
    weighted = log.ad_lists[feature.name].weights is not None
  if schema:
    field = schema.field(feature.past_of or feature.name)
    many = bool(feature.past_of) or field.kind in schema_lib.LISTS
    kind = "vocabulary" if feature.name in values else "hash"
  many = many or weighted
  return fields_lib.IdField(
    name=feature.name,
    side=side,
    many=many,
    weighted=weighted,
    rows=feature.rows,
    values=kind,
    past_of=feature.past_of,
  )


def _values(
  schema: schema_lib.Schema, path: pathlib.Path
) -> dict[str, Sequence[str]]:
  """Learned vocabularies; past clicks have that of what was clicked."""
  out = {}
  for field in schema.feature:
    learned = field.vocabulary == "learn"
    if field.kind not in schema_lib.ID_KINDS or not learned:
      continue
    file = path / "vocab" / f"{field.name}.parquet"
    out[field.name] = vocabulary.read(file).to_pylist()
    if field.history:
      out[field_lib.HISTORY_PREFIX + field.name] = out[field.name]
  return out


def _named(
  schema: schema_lib.Schema, scales: dict
) -> tuple[fields_lib.DenseField, ...]:
  """Dense features, scaled as `prepared` scales them."""

  def field(found: schema_lib.Field) -> fields_lib.DenseField:
    scale = scales[found.name]
    deviation = scale["deviation"]
    if not found.standardise:  # The mean is what a missing number counts as.
      deviation = [0.0] * found.width
    return fields_lib.DenseField(
      name=found.name,
      side=_SIDES[found.side],
      mean=tuple(scale["mean"]),
      deviation=tuple(deviation),
    )

  return tuple(field(f) for f in schema.feature if f.kind == "dense")


def _unnamed(log: click_log.ClickLog) -> tuple[fields_lib.DenseField, ...]:
  """Numbers of a data set without a schema, one field a side."""

  def field(
    side: fields_lib.Side, numbers: Float[np.ndarray, "n K"]
  ) -> fields_lib.DenseField:
    return fields_lib.DenseField(
      name=DENSE,
      side=side,
      mean=tuple(numbers.mean(axis=0, dtype=np.float64).tolist()),
      deviation=(0.0,) * numbers.shape[1],
    )

  made = []
  if log.user_dense is not None and log.user_dense.shape[1]:
    made.append(field("user", log.user_dense))
  if log.ad_dense is not None and log.ad_dense.shape[1]:
    made.append(field("ad", log.ad_dense))
  return tuple(made)
