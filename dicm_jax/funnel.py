"""What a funnel of match, pre-rank and rank loses; a command.

python -m dicm_jax.funnel --match=index --prerank=towers --rank=bundle
  [--match_k=400] [--prerank_k=50] [--k=10] [--page_views=300]

--match is an index of `ad_index`, --prerank and --rank are bundles. For page
views of the test split the rank model scores all ads of the index, and its best
k are what the funnel should find. Prints tables, then all figures as JSON, see
`funnel_figures.figures`; docs/funnel.md explains them.
"""

from collections.abc import Sequence
import dataclasses
import pathlib
import time
from typing import Any

from absl import app, flags
from jaxtyping import Float, Int
import numpy as np

from dicm_jax import ad_index, bundle_data, command, errors, funnel_figures
from dicm_jax.data import click_log, sample
from dicm_jax.data.simulator import click_model
from dicm_jax.serving import engine as engine_lib
from dicm_jax.serving import logs, matching, shared_request
from dicm_jax.serving.limits import Limits

SEED = 0
"""Of the draw of page views."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Stages:
  """What orders ads for a page view of a user, best first."""

  funnel: matching.Funnel
  prerank_towers: matching.PreRank
  engine: engine_lib.Engine
  """Of the rank model."""
  ads: click_log.ClickLog
  """The index's ads, all in one page view, as the rank model reads them."""
  vectors: Float[np.ndarray, "A T"]
  """Of the index's ads."""

  def match_exactly(self, user: click_log.ClickLog) -> Int[np.ndarray, " m"]:
    search = matching.exact(self.vectors)
    index = dataclasses.replace(self.funnel.index, search=search)
    return index.near(index.towers.users(user)[0], self.funnel.match_k)[0]

  def match(self, user: click_log.ClickLog) -> Int[np.ndarray, " m"]:
    index = self.funnel.index
    return index.near(index.towers.users(user)[0], self.funnel.match_k)[0]

  def prerank(
    self, user: click_log.ClickLog, rows: Int[np.ndarray, " n"], k: int
  ) -> Int[np.ndarray, " k"]:
    query = self.prerank_towers.towers.users(user)[0]
    return self.prerank_towers.order(query, rows, k)[0]

  def rank(
    self, user: click_log.ClickLog, rows: Int[np.ndarray, " n"]
  ) -> Int[np.ndarray, " n"]:
    score = self.engine.scorer(logs.shown(self.ads, rows, user))
    return rows[np.argsort(-score, kind="stable")]


def stages_of(funnel: matching.Funnel, engine: engine_lib.Engine) -> Stages:
  """Reads an index's ads for a rank model.

  Raises:
    InputError: the funnel has no pre-rank model, or the models are of different
      data.
  """
  if funnel.prerank is None:
    raise errors.InputError("--prerank: expected a bundle")
  index, bundles = funnel.index, [*funnel.bundles(), engine.bundle]
  digests = {bundle.manifest["data_digest"] for bundle in bundles}
  if len(digests) > 1:
    raise errors.InputError(
      "expected bundles of one data set, found different ones in "
      f"{', '.join(str(bundle.folder) for bundle in bundles)}"
    )
  return Stages(
    funnel=funnel,
    prerank_towers=funnel.prerank,
    engine=engine,
    ads=matching.read_ads(engine.bundle, index.ads, index.context),
    vectors=index.towers.ads(index.ads, index.context),
  )


def rankings(
  stages: Stages, log: click_log.ClickLog, page_views: Int[np.ndarray, " P"]
) -> funnel_figures.Rankings:
  """Ads of each page view as every stage orders them."""
  found = [
    _ranked(stages, logs.part(log, slice(group, group + 1)))
    for group in page_views.tolist()
  ]
  rows = {name: [one[name] for one, _ in found] for name in found[0][0]}
  seconds = np.median([times for _, times in found], axis=0).tolist()
  return funnel_figures.Rankings(
    rows, dict(zip(funnel_figures.COSTS, seconds, strict=True))
  )


def _ranked(stages: Stages, user: click_log.ClickLog):
  """Rows of ads, best first, by what ordered them; seconds of four of them."""
  every = np.arange(len(stages.funnel.index.ads))
  times = [time.perf_counter()]
  found = stages.match(user)
  times.append(time.perf_counter())
  left = stages.prerank(user, found, stages.funnel.prerank_k)
  times.append(time.perf_counter())
  last = stages.rank(user, left)
  times.append(time.perf_counter())
  truth = stages.rank(user, every)
  times.append(time.perf_counter())
  rows = {
    "match": found,
    "match by exact search": stages.match_exactly(user),
    "match, pre-rank": left,
    "match, pre-rank, rank": last,
    "match, rank": stages.rank(user, found),
    "pre-rank alone": stages.prerank(user, every, len(every)),
    funnel_figures.TRUTH: truth,
  }
  return rows, np.diff(times)


def true_probabilities(
  ads: Sequence[shared_request.Ad],
  data: click_log.Dataset,
  page_views: Int[np.ndarray, " P"],
) -> Float[np.ndarray, "P A"] | None:
  """What the simulator knows of each ad, first on the page, average mood.

  Args:
    ads: of the index.
    data: the data set.
    page_views: of its test split.

  Returns:
    None where the data set is not the built-in sample.

  Raises:
    InputError: an ad shows no photograph of the sample.
  """
  if data.notice != sample.NOTICE:
    return None
  world = sample.generate(seed=0)
  rows = {name: row for row, name in enumerate(data.image_names)}
  try:
    image = np.array([rows[ad["image"]] for ad in ads])
  except KeyError as e:
    raise errors.InputError(f"ads: {e}: no photograph of the sample") from e
  truth, out = world.truth, []
  for user in data.test.user[page_views].tolist():
    logit = click_model.click_logit(
      truth.parameters,
      attributes=truth.attributes,
      category=truth.category,
      user=np.full(len(image), user),
      image=image,
      place=np.zeros(len(image), np.int64),
    )
    out.append(click_model.probability(logit))
  return np.stack(out)


def drawn(count: int, wanted: int) -> Int[np.ndarray, " P"]:
  """Some of so many page views, ascending; 0: all.

  Raises:
    InputError: there are fewer.
  """
  if not 0 <= wanted <= count:
    raise errors.InputError(
      f"--page_views: expected 0 to {count}, those of the test split; found "
      f"{wanted}"
    )
  rng = np.random.default_rng(SEED)
  return np.sort(rng.permutation(count)[: wanted or count])


def run(values: flags.FlagValues) -> dict[str, Any]:
  """Reads what the flags name and measures.

  Raises:
    InputError: a flag is wrong, or what it names cannot be used.
  """
  limits = Limits(candidates=max(values.match_k, Limits().candidates))
  engine = engine_lib.start(pathlib.Path(values.rank), "auto", limits)
  funnel = ad_index.read_funnel(
    pathlib.Path(values.match),
    pathlib.Path(values.prerank),
    engine.bundle,
    limits,
    match_k=values.match_k,
    prerank_k=values.prerank_k,
  )
  if values.k > values.prerank_k:
    raise errors.InputError(
      f"--k: expected at most --prerank_k={values.prerank_k}, found {values.k}"
    )
  stages = stages_of(funnel, engine)
  data = bundle_data.of(engine.bundle)
  page_views = drawn(data.test.num_groups, values.page_views)
  found = rankings(stages, data.test, page_views)
  out = funnel_figures.figures(
    found,
    values.k,
    data.test.user[page_views],
    true_probabilities(funnel.index.ads, data, page_views),
  )
  out |= {"match_k": values.match_k, "prerank_k": values.prerank_k}
  return out | ({"data_notice": data.notice} if data.notice else {})


def main(argv: list[str]) -> None:
  del argv
  try:
    command.start(flags.FLAGS)
    found = run(flags.FLAGS)
  except errors.InputError as e:
    command.fail(e)
  else:
    print(funnel_figures.text(found))
    command.show(found)


if __name__ == "__main__":
  flags.DEFINE_string("match", None, "Folder of an index.", required=True)
  flags.DEFINE_string("prerank", None, "Folder of a bundle.", required=True)
  flags.DEFINE_string("rank", None, "Folder of a bundle.", required=True)
  flags.DEFINE_integer("match_k", 400, "Ads that match finds.", 1)
  flags.DEFINE_integer("prerank_k", 50, "Ads left for the rank model.", 1)
  flags.DEFINE_integer("k", 10, "Ads that a user is shown.", 1)
  flags.DEFINE_integer("page_views", 300, "Of the test split; 0: all.", 0)
  command.define_devices()
  app.run(main, flags_parser=command.parse_flags)
