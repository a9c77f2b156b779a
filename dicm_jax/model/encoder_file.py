"""Trained encoders as files: safetensors that say what they are.

Tensors are named by their place in the encoder, e.g. stem.0.conv.kernel; an
entry of the metadata holds the shape as JSON: `encoder` that of an encoder of
pictures, `query_encoder` that of one of queries. Nothing is unpickled.
"""

from collections.abc import Callable
import dataclasses
import json
import os
import pathlib
from typing import Any, NamedTuple

from flax import nnx
import jax
from jaxtyping import PyTree
import numpy as np
import safetensors
from safetensors import numpy as arrays

from dicm_jax import errors
from dicm_jax.model import encoders, text_cnn

NAME = "encoder.safetensors"
"""In the folder of a run: the encoder of items."""


class Kind(NamedTuple):
  """A kind of encoder."""

  file: str
  """In the folder of a run."""
  entry: str
  """Of the metadata."""
  made_by: str
  parse: Callable[[dict[str, Any]], Any]
  """From the entry's values to the shape, a dataclass."""
  build: Callable[..., nnx.Module]
  """(shape, rngs=) -> the encoder."""


def _query_config(values: dict[str, Any]) -> encoders.QueryConfig:
  text = text_cnn.TextConfig(**values.pop("text"))
  return encoders.QueryConfig(text=text, **values)


ITEMS = Kind(
  file=NAME,
  entry="encoder",
  made_by="a run of configs/pairwise.py",
  parse=lambda values: encoders.EncoderConfig(**values),
  build=encoders.make,
)
QUERIES = Kind(
  file="query_encoder.safetensors",
  entry="query_encoder",
  made_by="a run of configs/pairwise.py with --config.pairs.anchor=query",
  parse=_query_config,
  build=encoders.make_query,
)


def write(
  path: pathlib.Path, config: Any, params: PyTree, kind: Kind = ITEMS
) -> None:
  """Writes all of the file or nothing.

  Args:
    path: of the file.
    config: the encoder's shape.
    params: nested dicts: parameters and running averages.
    kind: of the encoder.

  Raises:
    WriteError: it cannot be written.
  """
  named = {
    name: np.ascontiguousarray(leaf) for name, leaf in _named(params).items()
  }
  part = path.with_name(path.name + ".part")
  part.unlink(missing_ok=True)  # A link there would be followed.
  shape = json.dumps(dataclasses.asdict(config), sort_keys=True)
  with errors.writing(path, safetensors.SafetensorError):
    arrays.save_file(named, part, metadata={kind.entry: shape})
    os.replace(part, path)


def read(path: pathlib.Path, kind: Kind = ITEMS) -> tuple[Any, PyTree]:
  """Reads the shape and the parameters of an encoder.

  Args:
    path: the file, or the folder of the run that made it.
    kind: of the encoder.

  Raises:
    InputError: there is none, or it is damaged or not an encoder's.
  """
  file = path / kind.file if path.is_dir() else path
  if not file.is_file():
    raise errors.InputError(
      f"{file}: no such file; expected a trained encoder, which {kind.made_by} "
      "leaves in its --workdir"
    )
  try:
    with safetensors.safe_open(file, framework="np") as opened:
      config = _config(file, kind, (opened.metadata() or {}).get(kind.entry))
      found = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
  except (safetensors.SafetensorError, OSError) as e:
    raise errors.InputError(f"{file}: damaged file: {e}") from e
  return config, _filled(file, params_of(config, kind), found)


def params_of(config: Any, kind: Kind = ITEMS) -> PyTree:
  """Shapes of an encoder's parameters and running averages."""
  state = nnx.state(
    nnx.eval_shape(lambda: kind.build(config, rngs=nnx.Rngs(0)))
  )
  return nnx.to_pure_dict(state)


def _config(file: pathlib.Path, kind: Kind, text: str | None) -> Any:
  try:
    return kind.parse(json.loads(text or ""))
  # A width of 10^18 is one, too: no shape can have it.
  except (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    RecursionError,
  ) as e:
    raise errors.InputError(
      f"{file}: expected metadata that name an encoder as {kind.entry!r}, "
      f"found {text!r:.200} ({e})"
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
