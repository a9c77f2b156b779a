"""The explorer's folder holds what the test split shows."""

import numpy as np

from dicm_jax import explore_data
from tests import toy


def test_views_are_of_different_users_and_small():
  log = toy.dataset().test
  groups = explore_data.chosen(log, 10)
  assert len(groups) == len(set(log.user[groups])) == 10
  assert (np.diff(groups) > 0).all()
  everybody = explore_data.chosen(log, 10_000)
  assert (np.bincount(log.group)[everybody] > 1).all()
  assert len(everybody) <= toy.NUM_USERS
  assert set(groups) <= set(everybody)
