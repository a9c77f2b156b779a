"""A trained encoder as a file: safetensors that say what they are.

Tensors are named by their place in the encoder, e.g. stem.0.conv.kernel; the
metadata's entry `encoder` holds the shape as JSON. Nothing is unpickled.
"""

import dataclasses
import json
import os
import pathlib

from flax import nnx
import jax
from jaxtyping import PyTree
import numpy as np
import safetensors
from safetensors import numpy as arrays

from dicm_jax import errors
from dicm_jax.model import encoders

NAME = "encoder.safetensors"
"""In the folder of a run."""
_ENTRY = "encoder"


def write(
  path: pathlib.Path, config: encoders.EncoderConfig, params: PyTree
) -> None:
  """Writes all of the file or nothing.

  Args:
    path: of the file.
    config: the encoder's shape.
    params: nested dicts: parameters and running averages.
  """
  named = {
    name: np.ascontiguousarray(leaf) for name, leaf in _named(params).items()
  }
  part = path.with_name(path.name + ".part")
  shape = json.dumps(dataclasses.asdict(config), sort_keys=True)
  arrays.save_file(named, part, metadata={_ENTRY: shape})
  os.replace(part, path)


def read(path: pathlib.Path) -> tuple[encoders.EncoderConfig, PyTree]:
  """Reads the shape and the parameters of an encoder.

  Args:
    path: the file, or the folder of the run that made it.

  Raises:
    InputError: there is none, or it is damaged or not an encoder's.
  """
  file = path / NAME if path.is_dir() else path
  if not file.is_file():
    raise errors.InputError(
      f"{file}: no such file; expected a trained encoder, which a run of "
      "configs/pairwise.py leaves in its --workdir"
    )
  try:
    with safetensors.safe_open(file, framework="np") as opened:
      config = _config(file, (opened.metadata() or {}).get(_ENTRY))
      found = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
  except (safetensors.SafetensorError, OSError) as e:
    raise errors.InputError(f"{file}: damaged file: {e}") from e
  return config, _filled(file, params_of(config), found)


def params_of(config: encoders.EncoderConfig) -> PyTree:
  """Shapes of an encoder's parameters and running averages."""
  state = nnx.state(
    nnx.eval_shape(lambda: encoders.make(config, rngs=nnx.Rngs(0)))
  )
  return nnx.to_pure_dict(state)


def _config(file: pathlib.Path, text: str | None) -> encoders.EncoderConfig:
  try:
    return encoders.EncoderConfig(**json.loads(text or ""))
  except (ValueError, TypeError) as e:
    raise errors.InputError(
      f"{file}: expected metadata that name an encoder, found {text!r} ({e})"
    ) from e


def _filled(file: pathlib.Path, like: PyTree, found: dict) -> PyTree:
  """The arrays in the tree's places, once all are of the right shape."""
  for name, leaf in _named(like).items():
    there = found.get(name, np.zeros(()))
    if there.shape != leaf.shape or not np.isfinite(there).all():
      shape = list(there.shape) if name in found else "nothing"
      raise errors.InputError(
        f"{file}: tensor {name!r}: expected finite numbers of shape "
        f"{list(leaf.shape)}, found {shape}"
      )
  paths, tree = jax.tree_util.tree_flatten_with_path(like)
  leaves = [np.asarray(found[_name(p)], leaf.dtype) for p, leaf in paths]
  return jax.tree.unflatten(tree, leaves)


def _named(tree: PyTree) -> dict:
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {_name(path): leaf for path, leaf in leaves}


def _name(path) -> str:
  return jax.tree_util.keystr(path, simple=True, separator=".")
