"""The form of a request for a bundle's fields, as types that pydantic checks.

Unknown keys, values of another type and numbers that are not finite are
refused, with the place in the request.
"""

from typing import Annotated, Any, Required

import pydantic
from typing_extensions import TypedDict

from dicm_jax.serving import fields as fields_lib
from dicm_jax.serving.limits import Limits

MAX_TEXT = 512
"""Characters of an id or a picture's name."""
MAX_NUMBER = 1e30
"""Larger numbers overflow in the network."""

_dict_of: Any = TypedDict  # Of keys that a bundle says.
_STRICT = pydantic.ConfigDict(
  extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True
)
_Text = Annotated[str, pydantic.StringConstraints(max_length=MAX_TEXT)]
_Number = Annotated[float, pydantic.Field(ge=-MAX_NUMBER, le=MAX_NUMBER)]


def adapter(fields: fields_lib.Fields, limits: Limits) -> pydantic.TypeAdapter:
  """Checks and parses the bodies of requests.

  Args:
    fields: what the bundle's network reads.
    limits: of lengths.
  """
  user = {"ids": _ids(fields.of("user"), "UserIds", limits)}
  user |= _dense(fields.numbers("user"), "UserDense")
  if fields.behaviour_images:
    user["behaviours"] = Annotated[
      list[_Text],
      pydantic.Field(
        max_length=limits.list_length,
        description="Names of the pictures that the user clicked, oldest first",
      ),
    ]
  context = {"ids": _ids(fields.of("context"), "ContextIds", limits)}
  context |= _dense(fields.numbers("context"), "ContextDense")
  candidate = {"ids": _ids(fields.of("ad", "context"), "CandidateIds", limits)}
  candidate |= _dense(fields.numbers("ad", "context"), "CandidateDense")
  if fields.layout.ad_images:
    candidate["image"] = Annotated[
      _Text | None, pydantic.Field(description="Name of the ad's picture")
    ]
  candidates = Annotated[
    list[_typed("Candidate", candidate)],
    pydantic.Field(min_length=1, max_length=limits.candidates),
  ]
  request = {
    "user": _typed("User", user),
    "context": _typed("Context", context),
    "candidates": Required[candidates],
  }
  return pydantic.TypeAdapter(_typed("ScoreRequest", request))


def _typed(name: str, keys: dict[str, Any]) -> Any:
  """A dict of these keys, none of which must be there."""
  made = _dict_of(name, keys, total=False)
  made.__pydantic_config__ = _STRICT
  return made


def _ids(fields: list[fields_lib.IdField], name: str, limits: Limits) -> Any:
  return _typed(name, {field.name: _id(field, limits) for field in fields})


def _id(field: fields_lib.IdField, limits: Limits) -> Any:
  """The values of a feature; null is an unknown one."""
  known: Any = int if field.values == "rows" else _Text
  value = known | None
  if field.weighted:
    entry = {"value": Required[value], "weight": Required[_Number]}
    value = _typed(f"Weighted_{field.name}", entry)
  if not field.many:
    return value
  return Annotated[list[value], pydantic.Field(max_length=limits.list_length)]


def _dense(fields: list[fields_lib.DenseField], name: str) -> dict[str, Any]:
  """The key `dense`, where there are numbers at all."""
  if not fields:
    return {}
  return {"dense": _typed(name, {f.name: _numbers(f) for f in fields})}


def _numbers(field: fields_lib.DenseField) -> Any:
  if field.width == 1:
    return _Number
  return Annotated[
    list[_Number],
    pydantic.Field(min_length=field.width, max_length=field.width),
  ]
