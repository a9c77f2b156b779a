"""From all ads to some: match by an index of vectors, then pre-rank.

Match finds ads whose vectors have a large inner product with the user's.
Pre-rank orders what was found by the towers of another model, whose ads'
vectors were made beforehand too; the rank model scores what is left.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import json
from typing import Any, NamedTuple

from jaxtyping import Float, Int
import numpy as np

from dicm_jax.data import click_log
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import numpy_towers, request_reader, shared_request
from dicm_jax.serving.limits import Limits

Search = Callable[
  [Float[np.ndarray, "Q T"], int],
  tuple[Int[np.ndarray, "Q k"], Float[np.ndarray, "Q k"]],
]
"""(vectors of users, k) -> rows of ads and inner products, best first; -1 where
fewer were found."""


class Found(NamedTuple):
  """Ads for a user, best first."""

  rows: Int[np.ndarray, " k"]
  scores: Float[np.ndarray, " k"]
  """Inner products: logits of a click."""
  unknown: dict[str, int]
  """As `request_reader.Asked`, of the user alone."""


def exact(vectors: Float[np.ndarray, "A T"]) -> Search:
  """Compares with every vector; of equal products the lower row comes first."""
  return functools.partial(_best, vectors)


def _best(vectors, queries, k: int):
  scores = queries @ vectors.T
  rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
  return rows, np.take_along_axis(scores, rows, axis=1)


class Towers:
  """A pre-rank bundle that embeds what requests name.

  Args:
    bundle: the bundle.
    limits: of requests.

  Raises:
    InputError: its network has no towers.
  """

  def __init__(self, bundle: bundle_lib.Bundle, limits: Limits):
    self.bundle, self._limits = bundle, limits
    self._towers = numpy_towers.NumpyTowers(bundle)
    self._reader = request_reader.RequestReader(bundle, limits)
    self._any_ad = {}  # A request has an ad, and some models its picture.
    if bundle.fields.layout.ad_images:
      self._any_ad = {"image": next(filter(None, bundle.image_keys))}

  def ads(
    self, ads: Sequence[shared_request.Ad], context: Mapping[str, Any]
  ) -> Float[np.ndarray, "A T"]:
    """The vectors of ads, one or more, in one context.

    Raises:
      RequestError: as `read_ads`.
    """
    return self._towers.ads(read_ads(self.bundle, ads, context))

  def users(self, log: click_log.ClickLog) -> Float[np.ndarray, "G T"]:
    """The vector of each page view's user, of a log of the same data set."""
    return self._towers.users(log)

  def user(
    self, user: Mapping[str, Any]
  ) -> tuple[Float[np.ndarray, " T"], dict[str, int]]:
    """A user's vector, and what of the user is unknown, by field.

    Raises:
      RequestError: a value is of a wrong type, or there are too many.
    """
    known = shared_request.known_user(self.bundle.fields, user)
    request = {"user": known, "candidates": [self._any_ad]}
    asked = self._reader.read(json.dumps(request).encode())
    unknown = {
      field: count
      for field, count in asked.unknown.items()
      if field.startswith("user.")
    }
    return self.users(asked.log)[0], unknown


def read_ads(
  bundle: bundle_lib.Bundle,
  ads: Sequence[shared_request.Ad],
  context: Mapping[str, Any],
) -> click_log.ClickLog:
  """Ads, one or more, as the candidates of a page view of nobody.

  Raises:
    RequestError: a value of an ad or of the context is of a wrong type.
  """
  fields = bundle.fields
  request = {
    "context": shared_request.known_context(fields, context),
    "candidates": [shared_request.known_ad(fields, ad) for ad in ads],
  }
  limits = Limits(candidates=len(ads), list_length=max(map(_longest, ads)))
  reader = request_reader.RequestReader(bundle, limits)
  return reader.read(json.dumps(request).encode()).log


def _longest(ad: shared_request.Ad) -> int:
  """Values of an ad's longest list, at least 1."""
  lists = [one for one in ad.get("ids", {}).values() if isinstance(one, list)]
  return max(map(len, lists), default=1) or 1


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Index:
  """Ads that can be searched by a user's vector."""

  ads: tuple[shared_request.Ad, ...]
  context: Mapping[str, Any]
  """Of the page, in which the ads were embedded."""
  towers: Towers
  search: Search
  digest: str
  """Of all of it."""

  def match(self, user: Mapping[str, Any], k: int) -> Found:
    """The k ads that are best for a user, see `near`.

    Raises:
      RequestError: as `Towers.user`.
    """
    query, unknown = self.towers.user(user)
    return Found(*self.near(query, k), unknown)

  def near(
    self, query: Float[np.ndarray, " T"], k: int
  ) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """The k ads of the largest inner products, as far as the search finds."""
    rows, scores = self.search(query[None], min(k, len(self.ads)))
    there = rows[0] >= 0
    return rows[0][there], scores[0][there]


class PreRank:
  """Orders ads of an index by the towers of another model.

  Args:
    index: whose ads they are, and the context to embed them in.
    towers: of the model.

  Raises:
    RequestError: as `read_ads`.
  """

  def __init__(self, index: Index, towers: Towers):
    self.towers = towers
    self._vectors = towers.ads(index.ads, index.context)

  def best(
    self, user: Mapping[str, Any], rows: Int[np.ndarray, " n"], k: int
  ) -> Found:
    """The k best of some ads, see `order`.

    Raises:
      RequestError: as `Towers.user`.
    """
    query, unknown = self.towers.user(user)
    return Found(*self.order(query, rows, k), unknown)

  def order(
    self, query: Float[np.ndarray, " T"], rows: Int[np.ndarray, " n"], k: int
  ) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Of some rows the k of the largest inner products."""
    at, scores = exact(self._vectors[rows])(query[None], k)
    return rows[at[0]], scores[0]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Funnel:
  """All ads -> some for the rank model."""

  index: Index
  prerank: PreRank | None
  """None: the first that match found are left."""
  match_k: int = 400
  """Ads that match finds."""
  prerank_k: int = 50
  """Ads that are left for the rank model."""

  def bundles(self) -> list[bundle_lib.Bundle]:
    towers = [self.index.towers]
    towers += [self.prerank.towers] if self.prerank else []
    return [one.bundle for one in towers]

  def shortlist(self, user: Mapping[str, Any]) -> Found:
    """The ads that are left, best first.

    Raises:
      RequestError: as `Towers.user`.
    """
    found = self.index.match(user, self.match_k)
    if self.prerank:
      return self.prerank.best(user, found.rows, self.prerank_k)
    rows, scores = found.rows[: self.prerank_k], found.scores[: self.prerank_k]
    return found._replace(rows=rows, scores=scores)
