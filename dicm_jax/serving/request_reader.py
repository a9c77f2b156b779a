"""Requests as the click logs that scorers take."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jaxtyping import Float
import numpy as np
import pydantic

from dicm_jax.data import click_log
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import fields as fields_lib
from dicm_jax.serving import request_schema, vocabulary
from dicm_jax.serving.limits import Limits

_REASONS = 5
"""Mistakes of a request that its answer names, at most."""
_ONE = np.array([0, 1])
_NOTHING: dict[str, Any] = {}


class RequestError(ValueError):
  """A mistake in a request; its text names the field."""


class Asked(NamedTuple):
  """A request, read."""

  log: click_log.ClickLog
  """One page view, whose samples are the candidates."""
  unknown: dict[str, int]
  """By field: values that count as unknown, those that are missing too."""


class RequestReader:
  """Reads requests for a bundle.

  Args:
    bundle: whose fields and vocabularies requests speak of.
    limits: of lengths.
  """

  def __init__(self, bundle: bundle_lib.Bundle, limits: Limits):
    self._bundle, self._fields = bundle, bundle.fields
    self._adapter = request_schema.adapter(bundle.fields, limits)
    self._user_ids = self._fields.of("user")
    self._ad_ids = self._fields.of("ad", "context")
    self._sees_pictures = self._fields.layout.ad_images

  def json_schema(self) -> dict[str, Any]:
    """The form of a request, for the API's page."""
    return self._adapter.json_schema(
      ref_template="#/components/schemas/{model}"
    )

  def read(self, body: bytes) -> Asked:
    """Parses and checks a body, and looks its values up.

    Raises:
      RequestError: what is wrong, and where.
    """
    try:
      request = self._adapter.validate_json(body)
    except pydantic.ValidationError as e:
      raise RequestError(_reasons(e)) from e
    unknown: dict[str, int] = {}
    log = self._log(request, unknown)
    return Asked(log, unknown)

  def _log(self, request: dict[str, Any], unknown) -> click_log.ClickLog:
    user = request.get("user", _NOTHING)
    context = request.get("context", _NOTHING)
    candidates = request["candidates"]
    ids = _overridden(context, candidates, "ids")
    dense = _overridden(context, candidates, "dense")
    singles = [field for field in self._ad_ids if not field.many]
    lists = [field for field in self._ad_ids if field.many]
    count = len(candidates)
    return click_log.ClickLog(
      user_ids=self._of_user(user.get("ids", _NOTHING), unknown),
      ad_ids={f.name: self._rows(f, ids, unknown) for f in singles},
      ad_lists={f.name: self._lists(f, ids, unknown) for f in lists},
      user_dense=self._numbers([user.get("dense", _NOTHING)], "user"),
      ad_dense=self._numbers(dense, "ad", "context"),
      behaviour_images=self._past(user.get("behaviours", ()), unknown),
      ad_image=self._pictures(candidates, unknown),
      label=np.zeros(count, np.float32),
      group=np.zeros(count, np.int64),
      user=np.zeros(1, np.int64),
    )

  def _of_user(self, ids, unknown) -> dict[str, click_log.Jagged]:
    out = {}
    for field in self._user_ids:
      given = ids.get(field.name)
      if not field.many:
        given = [given]
      out[field.name] = _jagged(
        field, self._bundle.vocabularies[field.name], [given or ()]
      )
      _note(unknown, f"user.ids.{field.name}", out[field.name].values)
    return out

  def _rows(self, field: fields_lib.IdField, ids, unknown) -> np.ndarray:
    row = self._bundle.vocabularies[field.name].row
    rows = np.array([row(of.get(field.name)) for of in ids])
    _note(unknown, f"candidates.ids.{field.name}", rows)
    return rows

  def _lists(self, field: fields_lib.IdField, ids, unknown):
    given = [of.get(field.name, ()) for of in ids]
    found = _jagged(field, self._bundle.vocabularies[field.name], given)
    _note(unknown, f"candidates.ids.{field.name}", found.values)
    return found

  def _past(self, names: Sequence[str], unknown) -> click_log.Jagged:
    """Pictures of behaviours; as in training, no picture is no behaviour."""
    found = [self._bundle.image_of.get(name) for name in names]
    rows = [row for row in found if row is not None]
    if len(rows) < len(found):
      unknown["user.behaviours"] = len(found) - len(rows)
    return click_log.Jagged(np.array(rows, np.int64), _ONE * len(rows))

  def _pictures(self, candidates, unknown) -> np.ndarray:
    if not self._sees_pictures:
      return np.zeros(len(candidates), np.int64)
    known, none = self._bundle.image_of, self._fields.no_image
    found = [known.get(ad.get("image")) for ad in candidates]
    missing = [i for i, row in enumerate(found) if row is None]
    if missing and none is None:
      raise RequestError(
        f"candidates.{missing[0]}.image: expected the name of a picture of "
        "images.parquet, found another or none; the model knows no ads without "
        "one"
      )
    if missing:
      unknown["candidates.image"] = len(missing)
    return np.array([none if row is None else row for row in found])

  def _numbers(
    self, given: Sequence[dict[str, Any]], *sides: fields_lib.Side
  ) -> Float[np.ndarray, "n K"] | None:
    """Dense numbers, scaled as in training; a missing field is the mean."""
    fields = self._fields.numbers(*sides)
    if not fields:
      return None
    columns = []
    for field in fields:
      mean, deviation = np.array(field.mean), np.array(field.deviation)
      raw = np.array([of.get(field.name, field.mean) for of in given], float)
      raw = raw.reshape(len(given), field.width)
      scaled = (raw - mean) / np.where(deviation, deviation, 1)
      columns.append(np.where(deviation, scaled, raw))
    return np.concatenate(columns, axis=1).astype(np.float32)


def _overridden(context, candidates, key: str) -> list[dict[str, Any]]:
  """What holds for each candidate: its own values before the context's."""
  common = context.get(key)
  own = [ad.get(key, _NOTHING) for ad in candidates]
  return [common | of for of in own] if common else own


def _jagged(
  field: fields_lib.IdField, known: vocabulary.Vocabulary, lists
) -> click_log.Jagged:
  """Rows of lists of values, and their weights."""
  entries = [entry for one in lists for entry in one]
  ends = np.cumsum([0, *map(len, lists)])
  if not field.weighted:
    rows = np.array([known.row(value) for value in entries], np.int64)
    return click_log.Jagged(rows, ends)
  rows = np.array([known.row(e["value"]) for e in entries], np.int64)
  weights = np.array([e["weight"] for e in entries], np.float32)
  return click_log.Jagged(rows, ends, weights)


def _note(unknown: dict[str, int], field: str, rows: np.ndarray) -> None:
  count = len(rows) - int(np.count_nonzero(rows))
  if count:
    unknown[field] = count


def _reasons(error: pydantic.ValidationError) -> str:
  """The first mistakes, each with its place."""
  found = error.errors(include_url=False, include_input=False)
  told = [
    f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}"
    for one in found[:_REASONS]
  ]
  if len(found) > _REASONS:
    told.append(f"and {len(found) - _REASONS} more")
  return "; ".join(told)
