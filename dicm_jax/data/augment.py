"""Random changes to pictures that leave what they show."""

from typing import NamedTuple

from jaxtyping import Bool, Float, Int, UInt8
import numpy as np

BRIGHTNESS = 0.2
"""Colours are multiplied by 1 - 0.2 to 1 + 0.2."""


class Changes(NamedTuple):
  """What is done to each of K pictures."""

  move: Int[np.ndarray, "K 2"]
  """Pixels down and right."""
  mirrored: Bool[np.ndarray, " K"]
  gain: Float[np.ndarray, " K"]
  """Factor on all colours."""


def draw(count: int, shift: int, rng: np.random.Generator) -> Changes:
  """Draws a move, a coin for the mirror, and a brightness for each picture.

  Args:
    count: K.
    shift: pixels by which pictures move at most, in each direction.
    rng: of all draws.
  """
  return Changes(
    move=rng.integers(-shift, shift + 1, (count, 2)),
    mirrored=rng.random(count) < 0.5,
    gain=rng.uniform(1 - BRIGHTNESS, 1 + BRIGHTNESS, count),
  )


def apply(
  pictures: UInt8[np.ndarray, "K H H 3"], changes: Changes
) -> UInt8[np.ndarray, "K H H 3"]:
  """Moves, mirrors and brightens pictures."""
  moved = moved_by(pictures, changes.move)
  moved[changes.mirrored] = moved[changes.mirrored, :, ::-1]
  return brighten(moved, changes.gain)


def moved_by(
  pictures: UInt8[np.ndarray, "K H H 3"], move: Int[np.ndarray, "K 2"]
) -> UInt8[np.ndarray, "K H H 3"]:
  """Moves each picture down and right; its border fills what is left."""
  side = pictures.shape[1]
  span = np.arange(side)
  rows = np.clip(span - move[:, :1], 0, side - 1)[:, :, None]
  columns = np.clip(span - move[:, 1:], 0, side - 1)[:, None, :]
  return pictures[np.arange(len(pictures))[:, None, None], rows, columns]


def brighten(
  pictures: UInt8[np.ndarray, "K H H 3"], gain: Float[np.ndarray, " K"]
) -> UInt8[np.ndarray, "K H H 3"]:
  """Multiplies all colours of each picture; what is too bright is white."""
  scaled = pictures * gain.astype(np.float32)[:, None, None, None]
  return np.minimum(scaled, 255).astype(np.uint8)
