"""Distinct ads, found among impressions that repeat them."""

import dataclasses

import numpy as np

from dicm_jax.data import ads, click_log
from tests import toy

SAME = 7


def one_ad(**changed):
  """The toy log, its samples all showing the same ad."""
  log = toy.dataset().test
  n = log.num_samples
  tags = click_log.Jagged(
    np.tile([3, 5], n), np.arange(n + 1) * 2, np.ones(2 * n, np.float32)
  )
  columns = {
    "ad_ids": {name: np.full(n, 1) for name in log.ad_ids},
    "ad_lists": {"tags": tags},
    "ad_dense": np.full((n, 2), 0.5, np.float32),
    "ad_image": np.full(n, 4),
  }
  return dataclasses.replace(log, **columns | changed)


def other(array, start=SAME):
  """The array with other numbers from `start` on."""
  array = array.copy()
  array[start:] += 1
  return array


def test_equal_impressions_are_one_ad():
  np.testing.assert_array_equal(ads.first_samples(one_ad()), [0])


def test_each_thing_of_the_ad_side_tells_ads_apart():
  log = one_ad()
  tags = log.ad_lists["tags"]
  values, weights = other(tags.values, 2 * SAME), other(tags.weights, 2 * SAME)
  for changed in (
    {"ad_ids": log.ad_ids | {"position": other(log.ad_ids["position"])}},
    {"ad_dense": other(log.ad_dense)},
    {"ad_image": other(log.ad_image)},
    {"ad_lists": {"tags": tags._replace(values=values)}},
    {"ad_lists": {"tags": tags._replace(weights=weights)}},
  ):
    found = ads.first_samples(one_ad(**changed))
    np.testing.assert_array_equal(found, [0, SAME])


def test_a_log_without_lists_and_numbers_has_ads_too():
  log = one_ad(ad_lists={}, ad_dense=None)
  np.testing.assert_array_equal(ads.first_samples(log), [0])
  ids = {"ad_id": np.arange(log.num_samples) % 3}
  log = dataclasses.replace(log, ad_ids=ids)
  np.testing.assert_array_equal(ads.first_samples(log), [0, 1, 2])
