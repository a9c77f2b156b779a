"""Two runs are compared on the same users, and only on one test split."""

import dataclasses
import json

import numpy as np
import pytest

from dicm_jax import bootstrap, compare, errors, metrics
from dicm_jax.data import click_log
from tests import toy

DATA = toy.dataset()
RNG = np.random.default_rng(0)
NOISE = RNG.random(DATA.test.num_samples)
GOOD = 0.8 * DATA.test.label + 0.19 * NOISE + 0.005


def compared(a, b, data=DATA):
  return compare.compare(
    compare.Prediction(DATA, a), compare.Prediction(data, b)
  )


def without_images(rows):
  """The toy data, but training never showed the given images."""
  keep = ~np.isin(DATA.train.ad_image, rows)
  past = DATA.train.behaviour_images
  train = dataclasses.replace(
    DATA.train,
    ad_image=np.where(keep, DATA.train.ad_image, 0),
    behaviour_images=past._replace(
      values=np.where(np.isin(past.values, rows), 0, past.values)
    ),
  )
  return dataclasses.replace(DATA, train=train)


def test_equal_runs_differ_by_nothing_at_all():
  found = compared(NOISE, NOISE.copy())
  assert found["impressions"] == DATA.test.num_samples
  assert found["users"] == len(np.unique(DATA.test.user))
  for name in ("auc", "gauc", "logloss"):
    row = found["metrics"][name]
    assert row["a"] == row["b"]
    assert (row["difference"], row["low"], row["high"]) == (0, 0, 0)
    assert row["excludes_0"] is False


def test_figures_are_the_metrics_and_their_difference():
  found = compared(GOOD, NOISE)["metrics"]
  label, user = DATA.test.label, DATA.test.user[DATA.test.group]
  for name, of in {
    "auc": lambda p: metrics.auc(label, p),
    "gauc": lambda p: metrics.gauc(label, p, user),
    "logloss": lambda p: metrics.log_loss(label, p),
  }.items():
    row = found[name]
    # Both are float64; they differ by the order of additions.
    assert row["a"] == pytest.approx(of(GOOD), rel=1e-12)
    assert row["b"] == pytest.approx(of(NOISE), rel=1e-12)
    assert row["difference"] == row["a"] - row["b"]


def test_a_clear_difference_excludes_0_on_its_side():
  found = compared(GOOD, NOISE)["metrics"]
  assert found["auc"]["excludes_0"] and found["logloss"]["excludes_0"]
  assert found["auc"]["low"] > 0 > found["logloss"]["high"]
  mirrored = compared(NOISE, GOOD)["metrics"]
  for name in ("auc", "gauc", "logloss"):
    there, back = found[name], mirrored[name]
    assert there["difference"] == -back["difference"]
    # Percentiles of the mirrored values, but for their last digit.
    assert there["low"] == pytest.approx(-back["high"], rel=1e-12)


def test_a_difference_by_chance_does_not_exclude_0():
  rng = np.random.default_rng(1)
  a, b = (0.3 * DATA.test.label + 0.7 * rng.random(len(GOOD)) for _ in "ab")
  row = compared(a, b)["metrics"]["auc"]
  assert row["difference"] != 0
  assert row["low"] < 0 < row["high"]
  assert row["excludes_0"] is False


def test_interval_is_that_of_differences_on_the_same_users():
  other = 0.5 * GOOD + 0.5 * RNG.random(len(GOOD))
  row = compared(GOOD, other)["metrics"]["auc"]
  cold = np.zeros(len(GOOD), bool)
  alone = [
    bootstrap.resample(
      bootstrap.statistics(DATA.test, p, cold), len(np.unique(DATA.test.user))
    )["auc"]
    for p in (GOOD, other)
  ]
  assert (row["low"], row["high"]) == bootstrap.interval(alone[0] - alone[1])
  assert row["low"] < row["difference"] < row["high"]


def test_noise_that_both_runs_share_cancels_out():
  near = NOISE + 0.001 * RNG.random(len(NOISE))
  row = compared(NOISE, near)["metrics"]["auc"]
  cold = np.zeros(len(NOISE), bool)
  low, high = bootstrap.interval(
    bootstrap.resample(
      bootstrap.statistics(DATA.test, NOISE, cold),
      len(np.unique(DATA.test.user)),
    )["auc"]
  )
  assert low is not None and high is not None
  assert row["high"] - row["low"] < (high - low) / 10


def test_cold_are_the_ads_that_neither_run_knows():
  a, b = without_images(range(1, 20)), without_images(range(10, 40))
  found = compare.compare(
    compare.Prediction(a, GOOD), compare.Prediction(b, NOISE)
  )
  both = np.isin(DATA.test.ad_image, range(10, 20))
  row = found["metrics"]["auc_cold"]
  expected = metrics.auc(DATA.test.label[both], NOISE[both])
  assert row["b"] == pytest.approx(expected, rel=1e-12)
  assert row["a"] == 1


def test_figures_that_a_run_lacks_are_null():
  # Training has shown every image.
  found = compared(GOOD, NOISE)
  assert set(found["metrics"]["auc_cold"].values()) == {None}
  broken = np.where(NOISE > 0.5, np.nan, NOISE)
  row = compared(GOOD, broken)["metrics"]["auc"]
  assert row["a"] > 0.9
  assert row["b"] is row["difference"] is row["low"] is None
  assert row["excludes_0"] is None
  json.dumps(found, allow_nan=False)


def replaced(**values):
  test = dataclasses.replace(DATA.test, **values)
  return dataclasses.replace(DATA, test=test)


def test_another_test_split_is_refused():
  label = DATA.test.label.copy()
  label[[3, 7]] = 1 - label[[3, 7]]
  n = DATA.test.num_samples
  with pytest.raises(errors.InputError) as caught:
    compared(GOOD, GOOD, replaced(label=label))
  assert str(caught.value) == (
    "--against: expected a run on the same test split; its labels differ at 2 "
    f"of {n} impressions, first at number 3"
  )
  user = np.roll(DATA.test.user, 1)
  with pytest.raises(errors.InputError, match="its users differ at"):
    compared(GOOD, GOOD, replaced(user=user))
  larger = dataclasses.replace(DATA, test=DATA.train)
  p = np.full(DATA.train.num_samples, 0.5)
  with pytest.raises(errors.InputError) as caught:
    compared(GOOD, p, larger)
  assert str(caught.value) == (
    f"--against: expected a run on the same test split, of {n} impressions, "
    f"found {DATA.train.num_samples}"
  )


def test_users_may_have_other_numbers():
  renamed = replaced(user=DATA.test.user * 3 + 5)
  found = compared(GOOD, GOOD, renamed)
  assert found["metrics"]["gauc"]["difference"] == 0


def test_cold_samples_are_what_the_tests_take_them_for():
  assert not click_log.cold_samples(DATA.train, DATA.test).any()
