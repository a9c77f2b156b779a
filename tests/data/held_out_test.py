"""What is held out is what the log says, in numbers of the items."""

import dataclasses

import numpy as np
import pytest

from dicm_jax import errors
from dicm_jax.data import click_log, held_out
from tests import toy

KEYS = ("3.png", "0.png", "1.png", "9.png", "elsewhere.png")


def shown(*, group, ad, label, past, user):
  """A split with these impressions and histories."""
  offsets = np.cumsum([0, *map(len, past)])
  values = np.array([image for images in past for image in images], int)
  return click_log.ClickLog(
    user_ids={},
    ad_ids={},
    behaviour_images=click_log.Jagged(values, offsets),
    ad_image=np.array(ad),
    label=np.array(label, np.float32),
    group=np.array(group),
    user=np.array(user),
  )


def data():
  made = toy.dataset()
  test = shown(
    group=[0, 0, 0, 1, 1, 2, 3, 3, 4],
    ad=[0, 3, 0, 1, 5, 3, 3, 1, 9],
    label=[1, 0, 1, 1, 1, 1, 0, 0, 1],
    past=[[1, 7, 1], [], [3, 0], [0], [2, 9]],
    user=[8, 2, 8, 2, 5],
  )
  train = shown(
    group=[0, 0, 1, 1, 1, 2],
    ad=[1, 3, 1, 3, 7, 0],
    label=[1, 0, 1, 1, 1, 1],
    past=[[], [], []],
    user=[2, 2, 5],
  )
  return dataclasses.replace(made, train=train, test=test)


def lists(jagged):
  parts = np.split(jagged.values, jagged.offsets[1:-1])
  return [part.tolist() for part in parts]


def test_page_views_with_a_history_and_a_click_are_held_out():
  found = held_out.hold_out(data(), KEYS)
  # Image 7, 2 and 5 are no items; page view 1 has no history, 3 no click.
  assert lists(found.past) == [[2, 2], [0, 1], [3]]
  assert lists(found.clicked) == [[1], [0], [3]]
  assert found.user.tolist() == [1, 1, 0]
  assert found.left_out == 2


def test_page_views_with_a_query_and_a_click_are_held_out():
  made = data()
  query = np.array([4, 0, -1, 3, 2])
  test = dataclasses.replace(made.test, query=query)
  made = dataclasses.replace(made, test=test)
  found = held_out.hold_out(made, KEYS, ask="query")
  # Page view 1 has no history, which queries do without; 2 has no query.
  assert found.query.tolist() == [4, 0, 2]
  assert lists(found.past) == [[2, 2], [], [3]]
  assert lists(found.clicked) == [[1], [2], [3]]
  assert found.left_out == 2
  some = found.take(np.array([2, 0]))
  assert some.query.tolist() == [2, 4]
  assert lists(some.past) == [[3], [2, 2]]
  with pytest.raises(errors.InputError, match="with a query and a click"):
    held_out.hold_out(data(), KEYS, ask="query")


def test_clicks_on_what_was_seen_can_be_left_out():
  found = held_out.hold_out(data(), KEYS, new_only=True)
  assert lists(found.past) == [[2, 2]]
  assert lists(found.clicked) == [[1]]
  assert found.left_out == 4


def test_row_that_stands_for_no_picture_is_no_item():
  without = dataclasses.replace(data(), no_image=0)
  assert held_out.item_of_image(without, KEYS)[:4].tolist() == [-1, 2, -1, 0]
  assert lists(held_out.hold_out(without, KEYS).past) == [[0], [3]]


def test_popularity_is_of_training_clicks_and_ties_go_by_number():
  # Clicks of 3.png, 0.png, 1.png, 9.png, elsewhere.png: 1, 1, 2, 0, 0.
  assert held_out.by_popularity(data(), KEYS).tolist() == [2, 0, 1, 3, 4]


def test_nothing_to_hold_out_is_told():
  with pytest.raises(errors.InputError, match="among the 1 items; none of 5"):
    held_out.hold_out(data(), ("elsewhere.png",))
  test = shown(group=[0], ad=[0], label=[1], past=[[]], user=[0])
  pictureless = dataclasses.replace(data(), test=test, image_names=())
  with pytest.raises(errors.InputError, match="among the 5 items; none of 1"):
    held_out.hold_out(pictureless, KEYS)
