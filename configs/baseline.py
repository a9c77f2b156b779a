"""Embedding&MLP on ids alone: what every model with pictures is held against.

Reproduces in kind the baseline of "Image Matters" (section 4.1).

  python -m dicm_jax.main --config=configs/baseline.py --workdir=runs/baseline

Expect less than configs/quickstart.py, least on ads whose picture is new; see
docs/results.md.
"""

import pathlib
import runpy

from ml_collections import config_dict

_QUICKSTART = str(pathlib.Path(__file__).with_name("quickstart.py"))


def get_config() -> config_dict.ConfigDict:
  c = runpy.run_path(_QUICKSTART)["get_config"]()
  c.model.images = "none"
  return c
