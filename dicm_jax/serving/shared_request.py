"""Requests that several bundles read: what any knows, and what each does.

A model with pictures and one without may answer the same request. What a user
may say is what any of them knows, and each is told what it knows.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import fields as fields_lib
from dicm_jax.serving import request_reader

Ad = Mapping[str, Any]
"""What the data set knows of an ad, in the form of a candidate of /score."""
Keys = dict[str, Collection[str] | None]
"""Keys of an object, and the names that the object of a key may have; None: it
is no object."""

_SHOWN = 40
"""Characters of an unknown key in a message."""


def check_keys(where: str, given: Any, expected: Keys) -> None:
  """Refuses what no bundle knows.

  Args:
    where: of the request, for the message.
    given: a user, a context or an ad.
    expected: its keys.

  Raises:
    RequestError: `given` or one of its keys is no object, or has another key.
  """
  _check_object(where, given, expected)
  for key, names in expected.items():
    if names is not None and key in given:
      _check_object(f"{where}.{key}", given[key], names)


def _check_object(where: str, given: Any, expected: Collection[str]) -> None:
  if not isinstance(given, dict):
    raise request_reader.RequestError(f"{where}: expected an object")
  for key in given:
    if key not in expected:
      known = ", ".join(sorted(expected)) or "none"
      raise request_reader.RequestError(
        f"{where}: expected keys among {known}; found {key[:_SHOWN]!r}"
      )


def user_keys(bundles: Sequence[bundle_lib.Bundle]) -> Keys:
  """What a user may say where several bundles answer, see `check_keys`."""
  out = _keys(bundles, "user")
  if any(bundle.fields.behaviour_images for bundle in bundles):
    out["behaviours"] = None
  return out


def context_keys(bundles: Sequence[bundle_lib.Bundle]) -> Keys:
  """What a context may say, see `check_keys`."""
  return _keys(bundles, "context")


def ad_keys(bundle: bundle_lib.Bundle) -> Keys:
  """What an ad may say, a picture even if this bundle sees none."""
  return _keys([bundle], "ad") | {"image": None}


def _keys(bundles, side: fields_lib.Side) -> Keys:
  out: Keys = {
    "ids": {f.name for b in bundles for f in b.fields.of(side)},
    "dense": {f.name for b in bundles for f in b.fields.numbers(side)},
  }
  return {key: names for key, names in out.items() if names}


def known_user(
  fields: fields_lib.Fields, user: Mapping[str, Any]
) -> dict[str, Any]:
  """Of a request's user what a bundle knows; others may know more."""
  out = _known(user, fields.of("user"), fields.numbers("user"))
  if fields.behaviour_images and "behaviours" in user:
    out["behaviours"] = user["behaviours"]
  return out


def known_context(
  fields: fields_lib.Fields, context: Mapping[str, Any]
) -> dict[str, Any]:
  """Of a request's context what a bundle knows."""
  return _known(context, fields.of("context"), fields.numbers("context"))


def known_ad(fields: fields_lib.Fields, ad: Ad) -> dict[str, Any]:
  """Of an ad what a bundle knows."""
  sides = ("ad", "context")
  out = _known(ad, fields.of(*sides), fields.numbers(*sides))
  if fields.layout.ad_images and "image" in ad:
    out["image"] = ad["image"]
  return out


def _known(given: Mapping[str, Any], ids, dense) -> dict[str, Any]:
  out = {}
  for key, fields in (("ids", ids), ("dense", dense)):
    values = given.get(key, {})
    names = [field.name for field in fields if field.name in values]
    if names:
      out[key] = {name: values[name] for name in names}
  return out
