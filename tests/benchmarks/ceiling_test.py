"""The reference figures rest on estimators with known answers."""

import numpy as np

from benchmarks import bayes, ceiling, ridge
from dicm_jax.data import sample as sample_lib


def test_ridge_predicts_unseen_rows_of_a_linear_target():
  rng = np.random.default_rng(0)
  features = rng.standard_normal((200, 5))
  target = features @ rng.standard_normal((5, 2)) + 3.0
  seen = np.arange(200) < 150
  found = ridge.fit(features, target, seen)
  assert (found.r2_cold > 0.999).all()
  assert (found.r2_seen > 0.999).all()


def test_seen_rows_get_the_prediction_of_a_fit_without_them():
  rng = np.random.default_rng(1)
  features = rng.standard_normal((2100, 50))
  target = features @ rng.standard_normal((50, 1))
  target += target.std() * rng.standard_normal(target.shape)
  found = ridge.fit(features, target, np.arange(2100) < 100)
  # In the fit itself R2 is near 0.7; of new rows it explains about a third.
  # A hundred rows leave 0.1 of sampling error.
  assert abs(found.r2_seen[0] - found.r2_cold[0]) < 0.2


def test_newton_finds_the_tastes_behind_many_clicks():
  rng = np.random.default_rng(2)
  users, each, items, fashion = 20, 4000, 5, 0.5
  taste = rng.standard_normal((users, 2)) * 0.5
  item = rng.standard_normal(items) * 0.5
  user = np.repeat(np.arange(users), each)
  image = rng.integers(0, items, users * each)
  design = rng.standard_normal((users * each, 2))
  personal = np.einsum("nd,nd->n", design, taste[user])
  common = fashion * design[:, 0] + item[image]
  logit = personal + common
  label = (rng.random(len(logit)) < bayes.logistic(logit)).astype(float)
  clicks = bayes.Clicks(
    design=design,
    offset=np.zeros(len(logit)),
    label=label,
    user=user,
    image=image,
    num_users=users,
    num_images=items + 1,
  )
  mode, covariance = bayes.user_tastes(clicks, common, np.full(2, 4.0))
  error = (mode - taste) / np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
  # 40 standardised errors: their mean square is 1 within 0.22 a deviation.
  assert 0.3 < np.mean(error**2) < 1.9
  mean, found, variance = bayes.population(
    clicks, personal, mean_precision=np.full(1, 4.0), item_precision=4.0
  )
  # 80 000 clicks: the standard error is 0.01.
  assert abs(mean[0] - fashion) < 0.05
  assert (np.abs(found[:items] - item) < 5 * np.sqrt(variance[:items])).all()
  assert found[items] == 0
  assert variance[items] == 0.25


def test_ceiling_lies_between_chance_and_the_best_possible():
  sample = sample_lib.generate(seed=0, num_users=200)
  # Perfect features: the attributes themselves.
  predicted = ceiling.attainable_ceiling(sample, sample.truth.attributes)
  reached = ceiling.scores(sample.dataset, predicted)
  truth = sample.dataset.test.true_probability
  best = ceiling.scores(sample.dataset, truth)
  assert 0.6 < reached["auc"] < best["auc"]
  assert 0.6 < reached["auc_cold"] < best["auc_cold"]
  # 1 600 impressions: the click-through rate is known to 0.01.
  assert abs(predicted.mean() - truth.mean()) < 0.03


def test_ceiling_ignores_the_truth_of_the_test_split():
  sample = sample_lib.generate(seed=0, num_users=50)
  features = sample.truth.attributes.copy()
  before = ceiling.attainable_ceiling(sample, features)
  sample.dataset.test.label[:] = 1 - sample.dataset.test.label
  seen = np.unique(sample.dataset.train.ad_image)
  cold = np.setdiff1d(np.arange(len(features)), seen)
  sample.truth.attributes[cold] += np.arange(len(cold))[:, None]
  after = ceiling.attainable_ceiling(sample, features)
  assert np.array_equal(before, after)
