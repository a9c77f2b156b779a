"""Storage of features in fewer bytes, with a known error.

float16: relative error at most 2^-11 for numbers from 6.2e-5 to 65 504 in
size, absolute error at most 2^-25 below. int8: a scale for each row, absolute
error at most half a step, the row's largest number / 254.
"""

from typing import NamedTuple

from jaxtyping import Float, Shaped
import numpy as np

from dicm_jax import errors

DTYPES = ("float32", "float16", "int8")


class Packed(NamedTuple):
  """Features as they are stored."""

  values: Shaped[np.ndarray, "n F"]
  scale: Float[np.ndarray, " n"] | None
  """Of each row, with int8."""


def pack(features: Float[np.ndarray, "n F"], dtype: str) -> Packed:
  """Features in the number type they are stored in.

  Raises:
    InputError: a number is too large for float16; the message names the row.
  """
  if dtype == "int8":
    largest = np.abs(features).max(axis=1, initial=0)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return Packed(np.rint(features / scale[:, None]).astype(np.int8), scale)
  if dtype == "float16":
    large = np.abs(features) > np.finfo(np.float16).max
    if large.any():
      row, column = np.argwhere(large)[0].tolist()
      raise errors.InputError(
        f"features, row {row}, number {column}: expected at most 65504 in "
        f"float16, found {features[row, column]}; store them as float32"
      )
  return Packed(features.astype(dtype), None)


def unpack(packed: Packed) -> Float[np.ndarray, "n F"]:
  """The features as float32."""
  values = packed.values.astype(np.float32)
  return values if packed.scale is None else values * packed.scale[:, None]
