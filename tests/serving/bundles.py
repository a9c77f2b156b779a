"""Exported runs of a few steps on the toy data."""

import dataclasses
import pathlib
from typing import NamedTuple

from jaxtyping import Float
import numpy as np

from dicm_jax import checkpoint, export, restore, workdir
from dicm_jax.data import click_log
from dicm_jax.serving import bundle as bundle_lib
from tests import toy

PRERANK = {"model__name": "prerank", "model__aggregator": "sum"}
"""Options of the model with two towers."""


class Made(NamedTuple):
  """A bundle, and what the run itself makes of the test split."""

  bundle: bundle_lib.Bundle
  log: click_log.ClickLog
  probability: Float[np.ndarray, " n"]


def placed() -> click_log.Dataset:
  """The toy, whose `position` is of the place and not of the ad."""
  data = toy.dataset()
  features = tuple(
    dataclasses.replace(feature, context=feature.name == "position")
    for feature in data.features
  )
  return dataclasses.replace(data, features=features)


def towers(folder: pathlib.Path, patch, **options) -> Made:
  """A bundle of the pre-rank model."""
  return make(folder, patch, data=placed(), **PRERANK | options)


def make(
  folder: pathlib.Path, patch, *, dtype: str = "float32", data=None, **options
) -> Made:
  """Trains three steps and exports them.

  Args:
    folder: the bundle becomes `bundle` in it.
    patch: pytest's, undone at once.
    dtype: of the vectors.
    data: the data set; None: the toy.
    **options: of the config, as `toy.values` takes them.
  """
  config = toy.values(**options)
  x = toy.build(data=data, **options)
  state, _ = toy.run(x, 3)
  workdir.claim(folder / "run", config)
  (folder / "run" / checkpoint.FOLDER).mkdir()
  made = []
  whole = export._exported

  def kept(restored):
    made.append(whole(restored))
    return made[0]

  with patch.context() as patched:
    patched.setattr(
      restore, "restore", lambda *_: restore.Restored(config, x, state)
    )
    patched.setattr(export, "_exported", kept)
    export.export_run(folder / "run", folder / "bundle", dtype=dtype)
  return Made(
    bundle_lib.read(folder / "bundle"),
    x.data.test,
    made[0].scored.probability,
  )
