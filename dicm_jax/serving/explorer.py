"""The explorer's answers: page views, neighbours, explanations; no HTTP."""

from collections.abc import Callable, Sequence
import dataclasses
import functools
import json
from typing import Any

from jaxtyping import Float, Int
import numpy as np

from dicm_jax import errors
from dicm_jax.data import click_log
from dicm_jax.serving import (
  attention_weights,
  explain,
  explore_folder,
  numpy_layers,
  occlusion,
  request_reader,
  what_if,
)
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import engine as engine_lib

NEIGHBOURS = 12
PARTS = 40
"""Of an explanation that are shown, at most."""

EmbedderOf = Callable[[bundle_lib.Bundle], occlusion.Embed | None]
"""What embeds new pictures for a bundle; None: nothing can."""


class Missing(LookupError):
  """There is no such page view, ad or picture."""


class Unable(ValueError):
  """The model that is served cannot do what is asked; says why."""


def no_embedder(bundle: bundle_lib.Bundle) -> None:
  """An EmbedderOf that knows no encoder."""
  del bundle


class Model:
  """A bundle at work, as the explorer looks at it.

  Args:
    engine: what answers.
    folder: the pictures that can be shown.
    embedder: makes vectors of new pictures.
  """

  def __init__(
    self,
    engine: engine_lib.Engine,
    folder: explore_folder.Folder,
    embedder: EmbedderOf,
  ):
    self.engine, self.bundle = engine, engine.bundle
    self._folder = folder
    self.embed = embedder(engine.bundle)
    self.attention, self.why_no_attention = _attention(engine.bundle)
    found = [self.bundle.image_of.get(p.name, -1) for p in folder.pictures]
    self._row = np.array(found, np.int64)

  @property
  def sees_pictures(self) -> bool:
    """Whether a picture has a vector at all."""
    return self.bundle.fields.image_rows > 0

  def read(self, view: explore_folder.View) -> click_log.ClickLog:
    """A page view as this model reads it.

    Raises:
      Unable: its data are others than this model's.
    """
    if self._folder.data_digest != self.bundle.manifest["data_digest"]:
      raise Unable(
        "the page views are of other data than the model was trained on; make "
        "the folder again by dicm_jax.explore_data"
      )
    request = request_for(self.bundle, view.request)
    try:
      return self.engine.reader.read(json.dumps(request).encode()).log
    except request_reader.RequestError as e:
      raise Unable(f"the page view cannot be asked for: {e}") from e

  def known_behaviours(self, view: explore_folder.View) -> list[int]:
    """Places of the behaviours that the model reads, in its order."""
    if not self.bundle.fields.behaviour_images:
      return []
    named = enumerate(view.request["user"].get("behaviours", ()))
    return [place for place, name in named if name in self.bundle.image_of]

  def near(
    self, vector: Float[np.ndarray, " E"], besides: int = -1
  ) -> list[dict[str, Any]]:
    """The pictures of the folder whose vectors have the largest cosine."""
    similarity = self._unit @ numpy_layers.unit(vector[None])[0]
    similarity[self._row < 0] = -np.inf
    if besides >= 0:
      similarity[besides] = -np.inf
    order = np.argsort(-similarity, kind="stable")[:NEIGHBOURS].tolist()
    return [
      {"picture": picture, "similarity": float(similarity[picture])}
      for picture in order
      if np.isfinite(similarity[picture])
    ]

  def neighbours(self, picture: int) -> list[dict[str, Any]]:
    """Pictures like one of the folder.

    Raises:
      Missing: there is no such picture.
      Unable: the model has no vector of it.
    """
    if not 0 <= picture < len(self._folder.pictures):
      raise Missing(f"there is no picture {picture}")
    row = self._row[picture]
    if not self.sees_pictures or row < 0:
      raise Unable("this model sees no pictures, so none is near another")
    return self.near(self.bundle.images[row], picture)

  @functools.cached_property
  def _unit(self) -> Float[np.ndarray, "p E"]:
    return numpy_layers.unit(self.bundle.images[np.maximum(self._row, 0)])


class Explorer:
  """Page views of a folder, as models see them.

  Args:
    folder: what is shown.
    compare: a second bundle at work; None: there is none.
    embedder: makes vectors of new pictures.

  Raises:
    InputError: the folder is not of the second bundle's data.
  """

  def __init__(
    self,
    folder: explore_folder.Folder,
    compare: engine_lib.Engine | None = None,
    embedder: EmbedderOf = no_embedder,
  ):
    self.folder, self._embedder = folder, embedder
    self.compare = Model(compare, folder, no_embedder) if compare else None
    self._model: Model | None = None
    if compare and compare.bundle.manifest["data_digest"] != folder.data_digest:
      raise errors.InputError(
        f"--compare: {compare.bundle.folder}: expected a bundle of the data of "
        f"{folder.path}, found one of others"
      )

  def model(self, engine: engine_lib.Engine) -> Model:
    """The bundle that is served, which may be another than a while ago."""
    found = self._model
    if found is None or found.engine is not engine:
      found = self._model = Model(engine, self.folder, self._embedder)
    return found

  def view(self, number: int) -> explore_folder.View:
    """A page view.

    Raises:
      Missing: there is none of this number.
    """
    if not 0 <= number < len(self.folder.views):
      raise Missing(f"there is no page view {number}")
    return self.folder.views[number]

  def about(self, model: Model) -> dict[str, Any]:
    """What is served, and what can be asked of it."""
    models = [model, *([self.compare] if self.compare else [])]
    return {
      "data_notice": self.folder.data_notice,
      "models": [_about(one.bundle) for one in models],
      "sees_pictures": model.sees_pictures,
      "embeds": model.embed is not None and model.sees_pictures,
      "no_attention": model.why_no_attention,
      "pictures": [
        {"name": one.name, "title": one.title} for one in self.folder.pictures
      ],
    }

  def views(self) -> list[dict[str, Any]]:
    """All page views, in short."""
    return [
      {
        "view": number,
        "user": view.user,
        "ads": len(view.ads),
        "behaviours": len(view.behaviours),
        "clicks": sum(ad.label for ad in view.ads),
      }
      for number, view in enumerate(self.folder.views)
    ]

  def page(
    self,
    number: int,
    model: Model,
    predicted: Sequence[Float[np.ndarray, " n"]],
  ) -> dict[str, Any]:
    """A page view with what each model makes of its ads.

    Args:
      number: of the page view.
      model: that is served.
      predicted: each model's probabilities, the served one's first.
    """
    view = self.view(number)
    ads = [
      {
        "ad": i,
        "place": i + 1,
        **dataclasses.asdict(ad),
        "predicted": [float(of[i]) for of in predicted],
        "rank": [rank_of(of, i) for of in predicted],
      }
      for i, ad in enumerate(view.ads)
    ]
    return {
      "view": number,
      "user": view.user,
      "behaviours": list(view.behaviours),
      "ads": sorted(ads, key=lambda ad: ad["rank"][0]),
      "attention": self._attention(view, model),
    }

  def _attention(
    self, view: explore_folder.View, model: Model
  ) -> list[dict[str, Any]]:
    """By channel, for each ad a weight of each behaviour; null: not read."""
    known = model.known_behaviours(view)
    if model.attention is None or not known:
      return []
    out = []
    for channel, found in model.attention(model.read(view)).items():
      weights = np.full((len(view.ads), len(view.behaviours)), None, object)
      weights[:, known] = found.astype(float)
      out.append({"channel": channel, "weights": weights.tolist()})
    return out

  def explain(self, number: int, ad: int, model: Model) -> dict[str, Any]:
    """What drove one score.

    Raises:
      Missing: there is no such page view or ad.
      Unable: as Model.read.
    """
    view = self._with_ad(number, ad)
    log = model.read(view)
    found = explain.explain(model.bundle, model.engine.name, log, ad)
    known = model.known_behaviours(view)
    parts = []
    for part in found.parts[:PARTS]:
      one = part._asdict() | {"picture": _picture_of(part, view, ad, known)}
      if part.kind == "behaviour":
        one["place"] = known[part.place]
      parts.append(one)
    rest = [part.share for part in found.parts[PARTS:]]
    return found._asdict() | {
      "parts": parts,
      "others": {"count": len(rest), "share": sum(rest)},
    }

  def occlusion(self, number: int, ad: int, model: Model) -> dict[str, Any]:
    """Which part of an ad's picture drove its score.

    Raises:
      Missing: there is no such page view or ad, or no picture of it.
      Unable: as Model.read, or nothing embeds pictures.
    """
    view = self._with_ad(number, ad)
    embed, picture = _embed(model), view.ads[ad].picture
    if picture is None:
      raise Missing("this ad has no picture")
    log = model.read(view)
    score = functools.partial(
      what_if.ad_pictures, model.bundle, model.engine.name, log, ad
    )
    found = occlusion.occlusion(self.folder.jpeg(picture), embed, score)
    return {"picture": picture, "fall": found.tolist()}

  def rank_picture(
    self,
    number: int,
    picture: bytes,
    model: Model,
    predicted: Float[np.ndarray, " n"],
  ) -> dict[str, Any]:
    """Where an ad with a new picture would stand among a page view's ads.

    It is one of which no id is known, in the place of the first ad.

    Args:
      number: of the page view.
      picture: encoded.
      model: that is served.
      predicted: probabilities of the page view's ads.

    Raises:
      Missing: there is no such page view.
      Unable: as Model.read, or nothing embeds pictures.
      InputError: the picture cannot be decoded.
    """
    log, embed = model.read(self.view(number)), _embed(model)
    vector = embed([picture])
    own = float(
      what_if.ad_pictures(
        model.bundle, model.engine.name, log, 0, vector, known=False
      )[0]
    )
    return {
      "predicted": own,
      "rank": 1 + int((predicted > own).sum()),
      "of": len(predicted) + 1,
      "neighbours": model.near(vector[0]),
    }

  def _with_ad(self, number: int, ad: int) -> explore_folder.View:
    view = self.view(number)
    if not 0 <= ad < len(view.ads):
      raise Missing(f"page view {number} has no ad {ad}")
    return view


def _picture_of(
  part: explain.Part, view: explore_folder.View, ad: int, known: Sequence[int]
) -> int | None:
  """Number of the picture that a part of an explanation is about, if any."""
  if part.kind == "behaviour":
    return view.behaviours[known[part.place]]
  if part.kind == "picture":
    return view.ads[ad].picture
  past = view.request["user"]["ids"].get(part.field)
  if not isinstance(past, list) or len(past) != len(view.behaviours):
    return None
  # An id of past clicks that all show one picture, e.g. the clicked ad's own.
  value = past[part.place]
  shown = zip(past, view.behaviours, strict=True)
  found = {picture for other, picture in shown if other == value}
  return found.pop() if len(found) == 1 else None


def request_for(
  bundle: bundle_lib.Bundle, request: dict[str, Any]
) -> dict[str, Any]:
  """A request of everything, cut down to what a bundle's model reads."""
  fields = bundle.fields
  user = dict(request["user"])
  if not fields.behaviour_images:
    user.pop("behaviours", None)
  drop = () if fields.layout.ad_images else ("image",)
  candidates = [
    {key: value for key, value in ad.items() if key not in drop}
    for ad in request["candidates"]
  ]
  return {"user": user, "candidates": candidates}


def rank_of(probability: Float[np.ndarray, " n"], ad: int) -> int:
  """Rank of an ad from 1; of equals the first on the page comes first.

  >>> [rank_of(np.array([0.1, 0.5, 0.1]), ad) for ad in range(3)]
  [2, 1, 3]
  """
  before: Int[np.ndarray, " n"] = np.arange(len(probability)) < ad
  own = probability[ad]
  ahead = (probability > own) | ((probability == own) & before)
  return 1 + int(ahead.sum())


def _about(bundle: bundle_lib.Bundle) -> dict[str, Any]:
  keys = ("config_digest", "step", "weights_notice")
  model = bundle.model
  return {
    "bundle": bundle.digest,
    "model": model["name"],
    "images": model["images"],
    "auc": bundle.manifest["figures"].get("auc"),
    **{key: bundle.manifest[key] for key in keys},
  }


def _attention(bundle: bundle_lib.Bundle):
  try:
    return attention_weights.AttentionWeights(bundle), ""
  except errors.InputError as e:
    return None, str(e)


def _embed(model: Model) -> occlusion.Embed:
  if not model.sees_pictures:
    raise Unable("this model sees no pictures of ads")
  if model.embed is None:
    raise Unable(
      "this bundle has no encoder, so it knows only the pictures that it was "
      "exported with"
    )
  return model.embed
