"""Scores of page views whose vectors are not those of the bundle's tables.

Scorers read vectors by row. Asked about vectors of our own, the same network
gets small tables that hold nothing else, and a log whose rows lie in them.
"""

from collections.abc import Mapping
import dataclasses

from jaxtyping import Float
import numpy as np

from dicm_jax.data import click_log
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import logs, numpy_scorer, vocabulary


def scorer(bundle: bundle_lib.Bundle, engine: str):
  """What an engine of that name scores a bundle by."""
  if engine == numpy_scorer.NumpyScorer.name:
    return numpy_scorer.NumpyScorer(bundle)
  from dicm_jax.serving import artifact_scorer  # Brings JAX along.

  return artifact_scorer.ArtifactScorer(bundle)


def with_tables(
  bundle: bundle_lib.Bundle,
  ids: Mapping[str, Float[np.ndarray, "_ D"]],
  images: Float[np.ndarray, "_ E"],
) -> bundle_lib.Bundle:
  """The same network over other tables.

  Args:
    bundle: the network, and the order of features.
    ids: vectors of each feature's rows.
    images: vectors of the image rows.
  """
  fields = dataclasses.replace(
    bundle.fields,
    ids=tuple(
      dataclasses.replace(field, rows=len(ids[field.name]))
      for field in bundle.fields.ids
    ),
  )
  vectors = [ids[field.name] for field in fields.ids]
  none = np.zeros((0, bundle.ids.shape[1]), np.float32)
  return dataclasses.replace(
    bundle, fields=fields, ids=np.concatenate([none, *vectors]), images=images
  )


def ad_pictures(
  bundle: bundle_lib.Bundle,
  engine: str,
  log: click_log.ClickLog,
  ad: int,
  vectors: Float[np.ndarray, "n E"],
  *,
  known: bool = True,
) -> Float[np.ndarray, " n"]:
  """Probability of an ad with other pictures, one at a time.

  Args:
    bundle: the model.
    engine: numpy or artifact.
    log: one page view.
    ad: number of its ad.
    vectors: of the pictures.
    known: whether the ad keeps its ids and numbers; else it is one of which
      nothing is known, in the same place.
  """
  past = log.behaviour_images
  seen, own = np.unique(past.values, return_inverse=True)
  images = np.concatenate([bundle.images[seen], vectors]).astype(np.float32)
  asked = logs.shown(log, np.full(len(vectors), ad), log)
  if not known:
    asked = _unknown(bundle, asked)
  asked = dataclasses.replace(
    asked,
    behaviour_images=past._replace(values=own.reshape(-1)),
    ad_image=len(seen) + np.arange(len(vectors)),
  )
  return scorer(dataclasses.replace(bundle, images=images), engine)(asked)


def _unknown(
  bundle: bundle_lib.Bundle, log: click_log.ClickLog
) -> click_log.ClickLog:
  """The same with ads of which nothing is known; what is of the place stays."""
  of_ad = {field.name for field in bundle.fields.of("ad")}
  nothing = np.full(log.num_samples, vocabulary.UNKNOWN)
  none = click_log.Jagged(
    nothing[:0], np.zeros(log.num_samples + 1, np.int64), None
  )
  return dataclasses.replace(
    log,
    ad_ids={
      name: nothing if name in of_ad else rows
      for name, rows in log.ad_ids.items()
    },
    ad_lists={
      name: _none_of(lists, none) if name in of_ad else lists
      for name, lists in log.ad_lists.items()
    },
    ad_dense=_mean_of_ads(bundle, log.ad_dense),
  )


def _mean_of_ads(
  bundle: bundle_lib.Bundle, numbers: Float[np.ndarray, "n K"] | None
) -> Float[np.ndarray, "n K"] | None:
  """Numbers of which those of the ad are missing: they count as the mean."""
  if numbers is None:
    return None
  out, end = numbers.copy(), 0
  for field in bundle.fields.numbers("ad", "context"):
    begin, end = end, end + field.width
    if field.side == "ad":
      out[:, begin:end] = np.where(field.deviation, 0, field.mean)
  return out


def _none_of(lists: click_log.Jagged, none: click_log.Jagged):
  """Empty lists, with weights where the field has them."""
  weights = None if lists.weights is None else lists.weights[:0]
  return none._replace(weights=weights)
