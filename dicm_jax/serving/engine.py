"""A bundle at work: what reads its requests and scores them."""

import dataclasses
import pathlib

from dicm_jax import errors
from dicm_jax.serving import batcher as batcher_lib
from dicm_jax.serving import bundle as bundle_lib
from dicm_jax.serving import numpy_scorer, picture_rows, request_reader
from dicm_jax.serving.limits import Limits

ENGINES = ("auto", "numpy", "artifact")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Engine:
  """All that answers requests for one bundle."""

  bundle: bundle_lib.Bundle
  name: str
  """What scores: numpy or artifact."""
  reader: request_reader.RequestReader
  scorer: batcher_lib.Scorer


def start(folder: pathlib.Path, name: str, limits: Limits) -> Engine:
  """Reads a bundle and scores its own example, before anybody asks.

  Args:
    folder: of the bundle.
    name: one of ENGINES; auto: numpy, which needs no padding, where it knows
      the network.
    limits: of the server.

  Raises:
    InputError: as `bundle.read`; the scorer does not know the network; or the
      example is refused or scored as no numbers.
  """
  made = of(bundle_lib.read(folder), name, limits)
  bundle = made.bundle
  path = bundle.folder / bundle_lib.EXAMPLE
  try:
    found = made.scorer(made.reader.read(path.read_bytes()).log)
  except request_reader.RequestError as e:
    raise errors.InputError(f"{path}: {e}") from e
  if not ((found >= 0) & (found <= 1)).all():
    raise errors.InputError(f"{path}: scored as {found.tolist()}")
  return made


def of(bundle: bundle_lib.Bundle, name: str, limits: Limits) -> Engine:
  """A bundle at work; there is room behind its pictures.

  Raises:
    InputError: the scorer does not know the network.
  """
  bundle = picture_rows.with_room(bundle, limits)
  return Engine(
    bundle=bundle,
    name=(chosen := _choose(bundle, name)),
    reader=request_reader.RequestReader(bundle, limits),
    scorer=_scorer(bundle, chosen, limits),
  )


def over(engine: Engine, bundle: bundle_lib.Bundle, limits: Limits) -> Engine:
  """The same network over other tables of vectors; nothing is compiled."""
  bundle = picture_rows.with_room(bundle, limits)
  if engine.name == "numpy":
    scorer = numpy_scorer.NumpyScorer(bundle)
  else:
    from dicm_jax.serving import artifact_scorer  # Brings JAX along.

    assert isinstance(engine.scorer, artifact_scorer.ArtifactScorer)
    scorer = engine.scorer.over(bundle)
  return dataclasses.replace(
    engine,
    bundle=bundle,
    reader=request_reader.RequestReader(bundle, limits),
    scorer=scorer,
  )


def _choose(bundle: bundle_lib.Bundle, name: str) -> str:
  if name not in ENGINES:
    raise errors.unknown_name("--engine", name, ENGINES)
  if name != "auto":
    return name
  try:
    numpy_scorer.check(bundle.model)
  except errors.InputError:
    return "artifact"
  return "numpy"


def _scorer(
  bundle: bundle_lib.Bundle, name: str, limits: Limits
) -> batcher_lib.Scorer:
  if name == "numpy":
    return numpy_scorer.NumpyScorer(bundle)
  from dicm_jax.serving import artifact_scorer  # Brings JAX along.

  sizes = artifact_scorer.Sizes
  ladder = [
    sizes(samples=samples, groups=groups, entries=entries)
    for samples, groups in _calls(limits)
    for entries in _lists(limits)
  ]
  return artifact_scorer.ArtifactScorer(bundle, ladder)


def _calls(limits: Limits) -> list[tuple[int, int]]:
  """Samples and page views: a small request, a large one, many at a time."""
  most = limits.candidates
  small = [(most // 8, limits.batch + 1)] if most >= 64 else []
  return [*small, (most, limits.batch + 1), (4 * most, limits.batch + 1)]


def _lists(limits: Limits) -> list[int]:
  """Lengths of lists: of most histories, and of any."""
  return sorted({min(16, limits.list_length), limits.list_length})
