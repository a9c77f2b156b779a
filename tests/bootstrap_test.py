"""Bootstrap values are those of arrays rebuilt; intervals hold the truth."""

import numpy as np
import pytest

from dicm_jax import bootstrap, metrics
from tests import toy

NAMES = ("auc", "gauc", "logloss", "auc_cold")


def draw(seed, n=160, num_users=40, levels=12):
  """Labels, scores with ties in (0, 1), users and cold marks.

  Users differ in size, and some have one label only, or no sample.
  """
  rng = np.random.default_rng(seed)
  score = rng.integers(1, levels, n) / levels
  label = (rng.random(n) < 0.2 + 0.5 * score).astype(np.float32)
  user = (num_users * rng.random(n) ** 2).astype(int)
  return label, score, user, rng.random(n) < 0.2


def statistics(label, score, user, cold):
  return {
    "auc": bootstrap.auc(label, score, user),
    "gauc": bootstrap.gauc(label, score, user),
    "logloss": bootstrap.log_loss(label, score, user),
    "auc_cold": bootstrap.auc(label[cold], score[cold], user[cold]),
  }


def rebuilt(times, label, score, user, cold):
  """The metrics of the samples of the drawn users, copied into new arrays."""
  drawn = np.repeat(np.arange(len(times)), times)
  rows = [np.flatnonzero(user == u) for u in drawn]
  # A user drawn twice counts as two.
  new = np.repeat(np.arange(len(drawn)), [len(r) for r in rows])
  rows = np.concatenate(rows)
  label, score, cold = label[rows], score[rows], cold[rows]
  return {
    "auc": metrics.auc(label, score),
    "gauc": metrics.gauc(label, score, new),
    "logloss": metrics.log_loss(label, score),
    "auc_cold": metrics.auc(label[cold], score[cold]),
  }


@pytest.mark.parametrize("levels", [3, 12, 10**6])
@pytest.mark.parametrize("seed", range(3))
def test_a_replicate_is_the_metric_of_rebuilt_arrays(seed, levels):
  data = draw(seed, levels=levels)
  wanted = statistics(*data)
  rng = np.random.default_rng(seed)
  for _ in range(10):
    times = np.bincount(rng.integers(40, size=40), minlength=40)
    expected = rebuilt(times, *data)
    # Both are float64; they differ by the order of additions.
    for name in NAMES:
      found = wanted[name](times)
      assert found == pytest.approx(expected[name], rel=1e-12), name


def test_each_user_once_gives_the_metrics_of_the_split():
  log = toy.dataset().test
  probability = np.random.default_rng(0).random(log.num_samples, np.float32)
  cold = log.ad_image % 3 == 0
  wanted = bootstrap.statistics(log, probability, cold)
  user = log.user[log.group]
  once = np.ones(len(np.unique(user)), int)
  found = {name: statistic(once) for name, statistic in wanted.items()}
  assert found == pytest.approx(
    {
      "auc": metrics.auc(log.label, probability),
      "gauc": metrics.gauc(log.label, probability, user),
      "logloss": metrics.log_loss(log.label, probability),
      "auc_cold": metrics.auc(log.label[cold], probability[cold]),
    },
    rel=1e-12,
  )
  assert tuple(found) == NAMES


def test_auc_by_hand():
  label = np.array([1.0, 0.0, 1.0, 0.0, 0.0])
  score = np.array([0.5, 0.5, 0.2, 0.1, 0.9])
  value = bootstrap.auc(label, score, np.array([0, 0, 1, 1, 2]))
  # User 0 twice, user 1 once: clicks .5 .5 .2, others .5 .5 .1.
  # Each .5: half, half, right; .2: wrong, wrong, right.
  assert value(np.array([2, 1, 0])) == (2 + 2 + 1) / 9
  assert np.isnan(value(np.array([0, 0, 3])))


def test_users_without_a_sample_do_not_matter():
  label, score, user, _ = draw(0)
  times = np.random.default_rng(0).integers(0, 3, 40)
  more = np.append(times, [2, 5])
  for make in (bootstrap.auc, bootstrap.gauc, bootstrap.log_loss):
    value = make(label, score, user)
    assert value(more) == value(times)


def test_as_many_users_are_drawn_as_there_are_by_a_seed_of_their_own():
  def total(times):
    return float(times.sum())

  def first(times):
    return float(times[0])

  def values(seed):
    return bootstrap.resample(
      {"total": total, "first": first}, 30, replicates=500, seed=seed
    )

  found, again, other = values(0), values(0), values(1)
  assert (found["total"] == 30).all()
  assert np.array_equal(found["first"], again["first"])
  assert not np.array_equal(found["first"], other["first"])
  # Binomial(30, 1/30): mean 1, variance 29 / 30; 4 standard errors of each.
  assert found["first"].mean() == pytest.approx(1, abs=4 / 500**0.5)
  assert found["first"].var() == pytest.approx(29 / 30, abs=0.3)


def test_interval_leaves_out_a_fortieth_on_either_side():
  values = np.random.default_rng(0).permutation(np.arange(1001.0))
  assert bootstrap.interval(values) == pytest.approx((25, 975), rel=1e-12)


def test_replicates_without_a_value_are_left_out():
  values = np.array([0.5, np.nan, 0.5])
  assert bootstrap.interval(values) == (0.5, 0.5)
  assert bootstrap.interval(np.full(3, np.nan)) == (None, None)


def test_scores_that_are_no_numbers_have_no_interval():
  label, score, user, cold = draw(0)
  score[3] = np.nan
  cold[3] = True
  drawn = bootstrap.resample(
    statistics(label, score, user, cold), 40, replicates=5
  )
  for values in drawn.values():
    assert bootstrap.interval(values) == (None, None)


def world(rng, num_users=60):
  """Users whom the score suits or does not: their impressions are alike."""
  size = rng.integers(2, 30, num_users)
  user = np.repeat(np.arange(num_users), size)
  score = rng.random(len(user))
  trust = np.repeat(rng.normal(2, 6, num_users), size)
  p = 1 / (1 + np.exp(trust * (0.5 - score)))
  return (rng.random(len(user)) < p).astype(np.float64), score, user


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say():
  makes = {"auc": bootstrap.auc, "logloss": bootstrap.log_loss}
  label, score, user = world(np.random.default_rng(9), num_users=200_000)
  truth = {
    "auc": metrics.auc(label, score),
    "logloss": metrics.log_loss(label, score),
  }
  hits, worlds = dict.fromkeys(truth, 0), 200
  for seed in range(worlds):
    label, score, user = world(np.random.default_rng([1, seed]))
    wanted = {name: make(label, score, user) for name, make in makes.items()}
    drawn = bootstrap.resample(wanted, 60, replicates=200, seed=seed)
    for name, values in drawn.items():
      low, high = bootstrap.interval(values)
      assert low is not None and high is not None
      hits[name] += low <= truth[name] <= high
  # 93 % of 1 000 worlds: 60 users and 200 replicates cost the rest. The
  # standard error of 200 is 1.8: three of them below. Impressions drawn one by
  # one would reach 57 %.
  for name, count in hits.items():
    assert 0.88 <= count / worlds <= 0.985, name
