"""Functions that JAX has exported into a bundle."""

from collections.abc import Callable
from typing import Any

import jax

from dicm_jax import errors
from dicm_jax.serving import bundle as bundle_lib


def read(bundle: bundle_lib.Bundle, name: str) -> Callable[..., Any]:
  """One of a bundle's artifacts, to be called; compiled for each new shape.

  Raises:
    InputError: it is damaged or of another version of JAX.
  """
  path = bundle.folder / name
  try:
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
  # A damaged flatbuffer raises whatever its reader stumbles over.
  except Exception as e:
    raise errors.InputError(
      f"{path}: cannot be read by this version of JAX: {e!r}"
    ) from e
  return jax.jit(exported.call)
