"""Requests made of a log's page views: how one asks for what the log shows."""

from typing import Any

from jaxtyping import Float
import numpy as np

from dicm_jax.data import click_log
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import fields as fields_lib
from dicm_jax.serving import vocabulary


def request_of(
  bundle: bundle_lib.Bundle, log: click_log.ClickLog, group: int
) -> dict[str, Any]:
  """The request that asks for a page view's probabilities.

  A value that nobody remembers (unknown ids, and hashed ones) is null.

  Args:
    bundle: its vocabularies give the values.
    log: of the same data set.
    group: number of the page view.
  """
  fields = bundle.fields
  begin, end = np.searchsorted(log.group, (group, group + 1)).tolist()
  user = {
    "ids": {
      field.name: _value(bundle, field, log.user_ids[field.name], group)
      for field in fields.of("user")
    }
  } | _numbers(fields.numbers("user"), log.user_dense, group)
  if fields.behaviour_images:
    rows = _list(log.behaviour_images, group)
    user["behaviours"] = [bundle.image_keys[row] for row in rows.tolist()]
  candidates = [
    candidate_of(bundle, log, sample) for sample in range(begin, end)
  ]
  return {"user": user, "candidates": candidates}


def candidate_of(
  bundle: bundle_lib.Bundle, log: click_log.ClickLog, sample: int
) -> dict[str, Any]:
  """An ad, and with it what is of its place on the page."""
  fields = bundle.fields
  out: dict[str, Any] = {"ids": {}}
  for field in fields.of("ad", "context"):
    if field.many:
      value = _value(bundle, field, log.ad_lists[field.name], sample)
    else:
      row = int(log.ad_ids[field.name][sample])
      value = _known(bundle.vocabularies[field.name], row)
    out["ids"][field.name] = value
  out |= _numbers(fields.numbers("ad", "context"), log.ad_dense, sample)
  if fields.layout.ad_images:
    row = int(log.ad_image[sample])
    key = bundle.image_keys[row] if row != fields.no_image else None
    out["image"] = key
  return out


def _list(lists: click_log.Jagged, number: int) -> np.ndarray:
  return lists.values[lists.offsets[number] : lists.offsets[number + 1]]


def _known(known: vocabulary.Vocabulary, row: int) -> vocabulary.Value | None:
  return known.value(row) if row != vocabulary.UNKNOWN else None


def _value(bundle, field: fields_lib.IdField, lists, number: int) -> Any:
  """What a request says of a field with lists in the log."""
  known = bundle.vocabularies[field.name]
  values = [_known(known, row) for row in _list(lists, number).tolist()]
  if not field.many:
    return values[0]
  if not field.weighted:
    return values
  weights = _list(lists._replace(values=lists.weights), number).tolist()
  return [
    {"value": value, "weight": weight}
    for value, weight in zip(values, weights, strict=True)
  ]


def _numbers(
  fields: list[fields_lib.DenseField],
  numbers: Float[np.ndarray, "n K"] | None,
  row: int,
) -> dict[str, Any]:
  """Numbers as they were before they were scaled, by field."""
  out, end = {}, 0
  for field in fields:
    assert numbers is not None
    begin, end = end, end + field.width
    found = numbers[row, begin:end].astype(np.float64)
    deviation = np.array(field.deviation)
    raw = np.where(deviation, found * deviation + np.array(field.mean), found)
    out[field.name] = raw.tolist() if field.width > 1 else raw.item()
  return {"dense": out} if out else {}
