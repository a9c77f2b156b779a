"""Distinct ads, found among impressions that repeat them."""

import dataclasses

import numpy as np

from dicm_jax.data import ads, click_log
from tests import toy

SAME = 7


def one_ad(lists=None, **changed):
  """The toy log, its samples all showing the same ad."""
  log = toy.dataset().test
  n = log.num_samples
  tags = click_log.Jagged(
    np.tile([3, 5], n), np.arange(n + 1) * 2, np.ones(2 * n, np.float32)
  )
  columns = {
    "ad_ids": {name: np.full(n, 1) for name in log.ad_ids},
    "ad_lists": {"tags": tags if lists is None else lists(tags)},
    "ad_dense": np.full((n, 2), 0.5, np.float32),
    "ad_image": np.full(n, 4),
  }
  return dataclasses.replace(log, **columns | changed)


def other(array):
  """The array with another number at sample SAME and after."""
  array = array.copy()
  array[SAME:] += 1
  return array


def test_equal_impressions_are_one_ad():
  np.testing.assert_array_equal(ads.first_samples(one_ad()), [0])


def test_each_thing_of_the_ad_side_tells_ads_apart():
  log = one_ad()
  split = [
    one_ad(ad_ids=log.ad_ids | {"position": other(log.ad_ids["position"])}),
    one_ad(ad_dense=other(log.ad_dense)),
    one_ad(ad_image=other(log.ad_image)),
    one_ad(lists=lambda t: t._replace(values=other(t.values.reshape(-1, 2)))),
    one_ad(lists=lambda t: t._replace(weights=other(t.weights.reshape(-1, 2)))),
  ]
  for found in split:
    np.testing.assert_array_equal(ads.first_samples(flat(found)), [0, SAME])


def flat(log):
  """Lists with their entries end to end again."""
  tags = log.ad_lists["tags"]
  tags = tags._replace(
    values=tags.values.reshape(-1), weights=tags.weights.reshape(-1)
  )
  return dataclasses.replace(log, ad_lists={"tags": tags})


def test_a_log_without_lists_and_numbers_has_ads_too():
  n = toy.dataset().test.num_samples
  log = one_ad(ad_lists={}, ad_dense=None, ad_image=np.arange(n))
  log = dataclasses.replace(log, ad_ids={"ad_id": np.arange(n) % 3})
  np.testing.assert_array_equal(ads.first_samples(log), np.arange(n))
