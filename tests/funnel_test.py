"""The funnel's stages order ads as their models score them."""

import dataclasses

import numpy as np
import pytest

from dicm_jax import errors, funnel, funnel_figures
from dicm_jax.data import sample
from dicm_jax.serving import engine, logs, matching
from dicm_jax.serving.limits import Limits
from tests.serving import bundles, matching_test


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  with pytest.MonkeyPatch.context() as patch:
    folder = tmp_path_factory.mktemp("rank")
    return bundles.make(folder, patch, data=bundles.placed())


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
  with pytest.MonkeyPatch.context() as patch:
    return bundles.towers(tmp_path_factory.mktemp("towers"), patch)


@pytest.fixture(scope="module")
def stages(made, towers):
  index = matching_test.index_of(towers)
  of = matching.Towers(towers.bundle, Limits())
  whole = matching.Funnel(
    index=index,
    prerank=matching.PreRank(index, of),
    match_k=30,
    prerank_k=12,
  )
  return funnel.stages_of(
    whole, engine.start(made.bundle.folder, "auto", Limits())
  )


def test_user_is_shown_other_ads_as_the_log_shows_its_own(made, stages):
  group = 7
  user = logs.part(made.log, slice(group, group + 1))
  rows = np.arange(user.num_samples)[::-1]
  asked = logs.shown(user, rows, user)
  wanted = made.probability[made.log.group == group]
  # Float32 sums in another order.
  np.testing.assert_allclose(
    stages.engine.scorer(asked), wanted[rows], rtol=0, atol=1e-5
  )


def test_each_stage_orders_what_the_one_before_left(made, stages):
  views = np.array([2, 11])
  found = funnel.rankings(stages, made.log, views)
  count = len(stages.funnel.index.ads)
  assert set(found.seconds) == set(funnel_figures.COSTS)
  for i, group in enumerate(views.tolist()):
    of = {name: rows[i] for name, rows in found.rows.items()}
    user = logs.part(made.log, slice(group, group + 1))
    every = stages.engine.scorer(logs.shown(stages.ads, np.arange(count), user))
    np.testing.assert_array_equal(
      of["rank alone"], np.argsort(-every, kind="stable")
    )
    assert len(of["match"]) == 30
    np.testing.assert_array_equal(of["match"], of["match by exact search"])
    # The same towers match and order.
    np.testing.assert_array_equal(of["match, pre-rank"], of["match"][:12])
    np.testing.assert_array_equal(of["pre-rank alone"][:30], of["match"])
    for name, before in (
      ("match, pre-rank, rank", "match, pre-rank"),
      ("match, rank", "match"),
    ):
      assert set(of[name]) == set(of[before])
      assert (np.diff(every[of[name]]) <= 1e-6).all()


def test_models_of_different_data_are_refused(made, stages):
  bundle = dataclasses.replace(
    made.bundle, manifest=made.bundle.manifest | {"data_digest": "another"}
  )
  other = dataclasses.replace(stages.engine, bundle=bundle)
  with pytest.raises(errors.InputError, match="expected bundles of one data"):
    funnel.stages_of(stages.funnel, other)
  alone = dataclasses.replace(stages.funnel, prerank=None)
  with pytest.raises(errors.InputError, match="--prerank: expected a bundle"):
    funnel.stages_of(alone, stages.engine)


def test_page_views_are_drawn_once_for_all():
  some = funnel.drawn(100, 30)
  assert len(set(some.tolist())) == 30
  assert (np.diff(some) > 0).all()
  np.testing.assert_array_equal(some, funnel.drawn(100, 30))
  assert funnel.drawn(5, 0).tolist() == [0, 1, 2, 3, 4]
  with pytest.raises(errors.InputError, match=r"0 to 5.*found 6"):
    funnel.drawn(5, 6)


def test_other_data_have_no_truth():
  assert funnel.true_probabilities([], bundles.placed(), np.array([0])) is None


@pytest.mark.slow
def test_truth_is_the_samples_but_for_place_and_mood():
  data = sample.generate(seed=0).dataset
  log, views = data.test, np.arange(400)
  ads = [{"image": name} for name in data.image_names]
  true = funnel.true_probabilities(ads, data, views)
  assert true is not None and log.true_probability is not None
  first = (log.ad_ids["position"] == 1) & (log.group < 400)
  told = true[log.group[first], log.ad_image[first]]
  known = log.true_probability[first]
  mood = np.log(known / (1 - known)) - np.log(told / (1 - told))
  assert abs(mood.mean()) < 0.06
  assert mood.std() == pytest.approx(0.3, rel=0.15)
