"""Cold samples are those whose ad image training never showed."""

import numpy as np

from dicm_jax.data import click_log


def log_of(ad_image, behaviours=()):
  """A log of one group with the given images and nothing else of interest."""
  n = len(ad_image)
  return click_log.ClickLog(
    user_ids={},
    ad_ids={},
    behaviour_images=click_log.Jagged(
      np.array(behaviours, int), np.array([0, len(behaviours)])
    ),
    ad_image=np.array(ad_image, int),
    label=np.zeros(n),
    group=np.zeros(n, int),
    user=np.zeros(1, int),
  )


def cold(train, test):
  return click_log.cold_samples(train, test).tolist()


def test_ad_images_seen_in_training_as_ad_or_behaviour_are_not_cold():
  train = log_of([1, 4, 1], behaviours=[6, 4])
  assert cold(train, log_of([6, 1, 5, 4, 0, 5])) == [
    False,
    False,
    True,
    False,
    True,
    True,
  ]


def test_behaviours_of_the_test_split_do_not_warm_it():
  assert cold(log_of([1]), log_of([2, 1], behaviours=[2])) == [True, False]


def test_empty_splits():
  assert cold(log_of([]), log_of([3])) == [True]
  assert cold(log_of([3]), log_of([])) == []


def test_log_counts_its_samples_and_groups():
  log = log_of([1, 2, 3])
  assert (log.num_samples, log.num_groups) == (3, 1)
  assert log.behaviour_images.lengths.tolist() == [0]
