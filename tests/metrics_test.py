"""Metrics equal scikit-learn's, and a plain loop over users."""

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from dicm_jax import metrics


def draw(seed, n=500, levels=12):
  """Labels, scores with many ties in (0, 1), and users with few samples."""
  rng = np.random.default_rng(seed)
  score = rng.integers(1, levels, n) / levels
  label = (rng.random(n) < 0.2 + 0.5 * score).astype(np.float32)
  return label, score, rng.integers(0, n // 4, n)


def looped_gauc(label, score, user):
  total = weight = 0.0
  for key in sorted(set(user.tolist())):
    mine = user == key
    if len(set(label[mine].tolist())) == 2:
      n = int(mine.sum())
      total += n * float(reference.roc_auc_score(label[mine], score[mine]))
      weight += n
  return total / weight


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("levels", [2, 3, 12, 10**6])
def test_auc_is_scikit_learns(seed, levels):
  label, score, _ = draw(seed, levels=levels)
  # Both are float64; they differ by the order of additions.
  expected = reference.roc_auc_score(label, score)
  assert metrics.auc(label, score) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_log_loss_is_scikit_learns(seed):
  label, score, _ = draw(seed)
  expected = reference.log_loss(label, score, labels=[0, 1])
  assert metrics.log_loss(label, score) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("levels", [3, 12, 10**6])
@pytest.mark.parametrize("seed", range(5))
def test_gauc_is_a_loop_over_users(seed, levels):
  label, score, user = draw(seed, levels=levels)
  expected = looped_gauc(label, score, user)
  assert metrics.gauc(label, score, user) == pytest.approx(expected, rel=1e-12)


def test_auc_by_hand():
  label = np.array([1.0, 0.0, 1.0, 0.0])
  # Pairs (click, other): 4 > 1 right, 4 > 3 right, 1 = 1 half, 1 < 3 wrong.
  assert metrics.auc(label, np.array([4.0, 1.0, 1.0, 3.0])) == 2.5 / 4
  assert metrics.auc(label, np.zeros(4)) == 0.5
  assert metrics.auc(label, label) == 1
  assert metrics.auc(label, -label) == 0


def test_users_of_one_label_are_left_out_of_both_sums():
  label = np.array([1.0, 0.0, 1.0, 0.0, 0.0])
  score = np.array([0.2, 0.9, 0.8, 0.1, 0.3])
  user = np.array([1, 1, 2, 2, 2])
  assert metrics.gauc(label, score, user) == pytest.approx((2 * 0 + 3 * 1) / 5)
  more = np.concatenate([label, np.ones(50), np.zeros(50)])
  same = metrics.gauc(
    more,
    np.concatenate([score, np.linspace(0, 1, 100)]),
    np.concatenate([user, np.full(50, 3), np.full(50, 4)]),
  )
  assert same == metrics.gauc(label, score, user)


def test_auc_within_ads_by_hand():
  label = np.array([1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0])
  score = np.array([0.9, 0.1, 0.3, 0.2, 0.2, 0.0, 0.7])
  ad = np.array([5, 8, 5, 8, 8, 3, 3])
  # Ad 5: right, of 2; ad 8: right and half, of 3; ad 3: clicks only.
  expected = (2 * 1 + 3 * 0.75) / 5
  assert metrics.within_ad_auc(label, score, ad) == pytest.approx(expected)
  # What the model thinks of an ad as a whole does not matter.
  shifted = metrics.within_ad_auc(label, score + ad, ad)
  assert shifted == pytest.approx(expected)


def test_losses_of_samples_average_to_the_log_loss():
  label, score, _ = draw(0)
  losses = metrics.log_losses(label, score)
  assert len(losses) == len(label)
  assert losses[0] == pytest.approx(
    -math.log(score[0] if label[0] else 1 - score[0]), rel=1e-12
  )
  assert losses.mean() == pytest.approx(metrics.log_loss(label, score))


def test_figures_that_are_none_are_null():
  assert metrics.or_none(float("nan")) is None
  assert metrics.or_none(0.0) == 0.0


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_one_label_alone_has_no_auc(value):
  label, score = np.full(4, value), np.array([0.1, 0.2, 0.3, 0.3])
  assert math.isnan(metrics.auc(label, score))
  assert math.isnan(metrics.gauc(label, score, np.array([0, 0, 1, 1])))


def test_each_user_of_one_label_has_no_gauc():
  label, score = np.array([0.0, 1.0]), np.array([0.1, 0.2])
  assert metrics.auc(label, score) == 1
  assert math.isnan(metrics.gauc(label, score, np.array([0, 1])))


def test_keys_of_users_may_be_anything_comparable():
  label, score, user = draw(0)
  expected = metrics.gauc(label, score, user)
  assert metrics.gauc(label, score, user * 1000 - 7) == expected
  names = np.array([f"user {u:04d}" for u in user])
  assert metrics.gauc(label, score, names) == expected


@pytest.mark.parametrize("seed", range(3))
def test_monotone_maps_change_no_auc(seed):
  label, score, user = draw(seed)
  for mapped in (np.log(score), 7 * score - 3, score**3, np.exp(score)):
    assert metrics.auc(label, mapped) == metrics.auc(label, score)
    assert metrics.gauc(label, mapped, user) == metrics.gauc(label, score, user)
  # A shift a user of its own leaves GAUC, but not AUC.
  shifted = score + user
  # Adding a user's number may round two scores' difference, never their order.
  assert metrics.gauc(label, shifted, user) == pytest.approx(
    metrics.gauc(label, score, user), rel=1e-12
  )
  assert metrics.auc(label, shifted) != metrics.auc(label, score)


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_samples_does_not_matter(seed):
  label, score, user = draw(seed)
  p = np.random.default_rng(seed).permutation(len(label))
  assert metrics.auc(label[p], score[p]) == metrics.auc(label, score)
  assert metrics.gauc(label[p], score[p], user[p]) == pytest.approx(
    metrics.gauc(label, score, user), rel=1e-12
  )


def test_flipped_labels_mirror_the_auc():
  label, score, _ = draw(0)
  mirrored = metrics.auc(1 - label, score)
  assert mirrored == pytest.approx(1 - metrics.auc(label, score), rel=1e-12)


def test_log_loss_by_hand_and_at_its_bounds():
  found = metrics.log_loss(np.array([1.0, 0.0]), np.array([0.25, 0.5]))
  assert found == pytest.approx((math.log(4) + math.log(2)) / 2, rel=1e-12)
  wrong = metrics.log_loss(np.array([1.0]), np.array([0.0]))
  assert wrong == pytest.approx(15 * math.log(10), rel=1e-12)
  # 1 - 1e-15 has 3 digits left in float64.
  wrong = metrics.log_loss(np.array([0.0]), np.array([1.0], np.float32))
  assert wrong == pytest.approx(15 * math.log(10), rel=1e-3)
  right = metrics.log_loss(np.array([1.0, 0.0]), np.array([1.0, 0.0]))
  assert 0 <= right < 1e-14


def test_calibration_is_clicks_predicted_per_click():
  label = np.array([1.0, 0.0, 0.0, 1.0])
  found = metrics.calibration(label, np.array([0.5, 0.5, 0.25, 0.25]))
  assert found == 0.75
  assert metrics.calibration(label, label) == 1
  assert math.isnan(metrics.calibration(np.zeros(2), np.full(2, 0.5)))


def test_float32_sums_do_not_drift():
  n = 2**20
  label = np.ones(n, np.float32)
  p = np.full(n, 0.1, np.float32)
  assert metrics.calibration(label, p) == pytest.approx(float(p[0]), rel=1e-12)
  # log(float32(0.1)), taken in float64.
  expected = -math.log(float(p[0]))
  assert metrics.log_loss(label, p) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
  "metric", [metrics.auc, metrics.log_loss, metrics.calibration]
)
def test_no_samples_have_no_figure(metric):
  assert math.isnan(metric(np.zeros(0), np.zeros(0)))


def test_no_samples_have_no_gauc():
  assert math.isnan(metrics.gauc(np.zeros(0), np.zeros(0), np.zeros(0, int)))


def test_scores_that_are_no_numbers_have_no_auc():
  label, score, user = draw(0)
  score[3] = np.nan
  assert math.isnan(metrics.auc(label, score))
  assert math.isnan(metrics.gauc(label, score, user))


def test_infinite_scores_are_ranked_and_tied_as_others():
  label = np.array([1.0, 0.0, 1.0, 0.0])
  score = np.array([np.inf, np.inf, -np.inf, 3.0])
  # Pairs (click, other): inf = inf half, inf > 3 right, two wrong.
  assert metrics.auc(label, score) == 1.5 / 4
