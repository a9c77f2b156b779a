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


def test_one_time_far_off_leaks_no_clicks_between_users():
  """Microseconds among milliseconds: users times times passes 64 bits."""
  users, views = 20_000, 10
  user = np.repeat(np.arange(users), views)
  time = np.tile(np.arange(views) * 86_400_000 + 1_700_000_000_000, users)
  time[0] *= 1000
  found, _ = history.earlier_clicks(
    group_user=user,
    group_time=time,
    click_user=user,
    click_time=time,
    click_value=np.arange(len(user)),
    max_history=50,
  )
  owner = np.repeat(np.arange(len(user)), found.lengths)
  assert (user[found.values] == user[owner]).all()
  assert (time[found.values] < time[owner]).all()
  # User 0's first view has become its last, with 9 others before it.
  assert len(found.values) == users * views * (views - 1) // 2


def test_a_window_leaves_older_clicks_out():
  found, _ = history.earlier_clicks(
    group_user=np.array([0, 1, 0]),
    group_time=np.array([3, 3, 1]),
    max_history=9,
    window=2,
    **CLICKS,
  )
  assert found.values.tolist() == [12, 13, 10]
  assert found.offsets.tolist() == [0, 2, 2, 3]
