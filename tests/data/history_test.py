"""Histories hold the past, the latest of it, and nothing else."""

import numpy as np

from dicm_jax.data import history

CLICKS = {
  "click_user": np.array([0, 1, 0, 0, 1]),
  "click_time": np.array([0, 0, 1, 2, 3]),
  "click_value": np.array([10, 11, 12, 13, 14]),
}


def lists(user, time, max_history=9):
  jagged, cut = history.earlier_clicks(
    group_user=np.array(user),
    group_time=np.array(time),
    max_history=max_history,
    **CLICKS,
  )
  split = np.split(jagged.values, jagged.offsets[1:-1])
  return [part.tolist() for part in split], cut


def test_history_is_the_users_own_and_strictly_earlier():
  found, cut = lists([0, 1, 0, 0, 1, 0], [0, 0, 1, 2, 3, 3])
  assert found == [[], [], [10], [10, 12], [11], [10, 12, 13]]
  assert cut == 0


def test_the_latest_are_kept_and_the_others_counted():
  found, cut = lists([0, 0, 1], [3, 2, 4], max_history=1)
  assert found == [[13], [12], [14]]
  assert cut == 2 + 1 + 1


def test_user_without_clicks_has_an_empty_history():
  assert lists([7], [5]) == ([[]], 0)


def test_groups_need_not_be_ordered():
  found, _ = lists([1, 0], [4, 1])
  assert found == [[11, 14], [10]]
