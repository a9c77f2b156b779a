"""Augmentation: what moves, what mirrors, what gets brighter."""

import numpy as np

from dicm_jax.data import augment

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (200, 8, 8, 3)).astype(np.uint8)


def at_random(pictures, shift: int):
  changes = augment.draw(len(pictures), shift, np.random.default_rng(1))
  return augment.apply(pictures, changes)


def test_pictures_move_down_and_right_and_borders_fill_the_rest():
  moved = augment.moved_by(PICTURES[:2], np.array([[2, 1], [-1, 0]]))
  np.testing.assert_array_equal(moved[0, 2:, 1:], PICTURES[0, :-2, :-1])
  np.testing.assert_array_equal(moved[0, 0, 1:], PICTURES[0, 0, :-1])
  np.testing.assert_array_equal(moved[1, :-1], PICTURES[1, 1:])
  np.testing.assert_array_equal(moved[1, -1], PICTURES[1, -1])


def test_brightness_ends_at_white():
  bright = augment.brighten(PICTURES[:1], np.array([2.0]))
  expected = np.minimum(PICTURES[:1].astype(int) * 2, 255)
  np.testing.assert_array_equal(bright, expected)


def test_half_of_the_pictures_are_mirrored():
  grey = np.tile(np.arange(8, dtype=np.uint8)[:, None] * 20, (200, 8, 1, 3))
  made = at_random(grey, 0)
  assert made.shape == grey.shape
  assert made.dtype == np.uint8
  slope = made[:, 0, -1, 0].astype(int) - made[:, 0, 0, 0]
  # 200 throws of a coin: four standard deviations are .14.
  assert abs((slope < 0).mean() - 0.5) < 0.14
  assert len(np.unique(made[:, 0].max(axis=(1, 2)))) > 10


def test_no_picture_moves_further_than_asked():
  dot = np.zeros((200, 9, 9, 3), np.uint8)
  dot[:, 4, 4] = 100
  made = at_random(dot, 2)
  _, rows, columns, _ = np.nonzero(made)
  assert (rows.min(), rows.max()) == (columns.min(), columns.max()) == (2, 6)
