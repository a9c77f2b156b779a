"""First values of a run from another run's newest checkpoint.

DICM paper (arXiv 1711.06505), partial warm-up: a new day's model starts as the
one of the day before, but for the ID embeddings, which start fresh; taken over,
they overfit. Optimiser slots start fresh and steps count from 0.
"""

import dataclasses
import json
import logging
import pathlib
from typing import Any

import jax
from jaxtyping import PyTree

from dicm_jax import checkpoint, errors, experiment, fingerprint, seal
from dicm_jax import config as config_lib
from dicm_jax.saved import Saved

_log = logging.getLogger(__name__)

PARTS = {
  "partial": ("dense", "standard"),
  "full": ("dense", "standard", "ids"),
}
"""By mode: the parts of a state that are taken over."""
_ROWS = "ID rows of "


def check(config: config_lib.WarmUp) -> None:
  """Looks whether there is a run to start from, before anything is built.

  Raises:
    InputError: mode and folder do not go together, or the folder holds no
      checkpoint.
  """
  folder = config.workdir
  if (config.mode == "none") != (not folder):
    expected = "''" if config.mode == "none" else "the folder of a run"
    raise errors.InputError(
      f"warm_up.workdir: expected {expected} with warm_up.mode="
      f"{config.mode!r}, found {folder!r}"
    )
  if folder and not checkpoint.steps(pathlib.Path(folder)):
    raise errors.InputError(
      f"warm_up.workdir: expected the folder of a run, found no checkpoints "
      f"in {folder}"
    )


def meaning(
  config: config_lib.Config, x: experiment.Experiment
) -> dict[str, Any]:
  """What the numbers of a state speak of, to be kept beside them.

  Two runs may have arrays of equal shapes over other image features, other
  fields or another vocabulary. As JSON holds it: lists, no tuples.
  """
  features = x.data.features
  found = {
    "image.backbone": config.image.backbone,
    "digest of image.cut and image.weights": x.encoder_digest[:16],
    "ID fields": [f"{f.side} {f.name}" for f in features],
  }
  model = dataclasses.asdict(config.model)
  found |= {f"model.{key}": value for key, value in model.items()}
  found |= {_ROWS + f.name: [f.rows, f.vocabulary[:16]] for f in features}
  return json.loads(json.dumps(found))


def start(
  config: config_lib.Config, x: experiment.Experiment
) -> experiment.Experiment:
  """The experiment with its first state taken over as the config says.

  Args:
    config: that of this run; mode "none" returns `x` as it is.
    x: as built, on any mesh.

  Raises:
    InputError: the other run has other features, fields, parameters or, with
      mode "full", other ID rows; or its checkpoint cannot be read.
  """
  mode, folder = config.warm_up.mode, pathlib.Path(config.warm_up.workdir)
  if mode == "none":
    return x
  like = {name: getattr(x.state, name) for name in PARTS[mode]}
  taken = _newest(folder, meaning(config, x), mode, like)
  # Slots start at constants whatever the values, so those of `x` are right.
  return dataclasses.replace(x, state=x.state._replace(**taken))


def _newest(
  folder: pathlib.Path, here: dict, mode: str, like: dict[str, PyTree]
) -> dict[str, PyTree]:
  """These parts of the newest sound checkpoint, once it is known to fit."""
  damaged = None
  for step in reversed(checkpoint.steps(folder)):
    saved = Saved(folder, step)
    try:
      _check_meaning(saved, here, mode)
      _check_shapes(saved, like)
      found = saved.parts(like)
    except seal.Damaged as e:
      _log.warning("%s; trying an older one", e)
      damaged = damaged or e
      continue
    _log.info("%s warm-up from step %d of %s", mode, step, folder)
    return found
  raise errors.InputError(f"warm_up.workdir: {damaged}") from damaged


def _check_meaning(saved: Saved, here: dict, mode: str) -> None:
  there = saved.position().values.get("meaning", {})
  lines = [
    f"{key}: {there.get(key)!r} -> {value!r}"
    for key, value in here.items()
    if there.get(key) != value and (mode == "full" or not key.startswith(_ROWS))
  ]
  if lines:
    raise errors.InputError(
      f"warm_up.workdir: {saved.workdir} holds a run that does not fit this "
      f"one with warm_up.mode={mode!r} (there -> here):\n  "
      + "\n  ".join(lines)
    )


def _check_shapes(saved: Saved, like: dict[str, PyTree]) -> None:
  leaves = jax.tree_util.tree_leaves_with_path(like)
  here = {fingerprint.name_of(path): leaf.shape for path, leaf in leaves}
  there = saved.shapes(like)
  for name in sorted(here.keys() | there.keys()):
    expected, found = here.get(name, "nothing"), there.get(name, "nothing")
    if expected != found:
      raise errors.InputError(
        f"warm_up.workdir: {saved.workdir}: parameter {name}: expected "
        f"{expected}, found {found}"
      )
