"""Random changes to pictures that leave what they show."""

from jaxtyping import Float, Int, UInt8
import numpy as np

BRIGHTNESS = 0.2
"""Colours are multiplied by 1 - 0.2 to 1 + 0.2."""


def at_random(
  pictures: UInt8[np.ndarray, "K H H 3"], shift: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "K H H 3"]:
  """Moves pictures, mirrors half of them, and changes their brightness.

  Args:
    pictures: K squares.
    shift: pixels by which they move at most, in each direction.
    rng: of all draws.
  """
  count = len(pictures)
  move = rng.integers(-shift, shift + 1, (count, 2))
  mirrored = rng.random(count) < 0.5
  gain = rng.uniform(1 - BRIGHTNESS, 1 + BRIGHTNESS, count)
  moved = moved_by(pictures, move)
  moved[mirrored] = moved[mirrored, :, ::-1]
  return brighten(moved, gain)


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
