"""SimTier: a histogram of how alike the ad's and the clicked pictures are.

Reproduces in kind the aggregator of "Enhancing Taobao Display Advertising with
Multimodal Representations" (https://arxiv.org/abs/2407.19467, section 4.1).

  python -m dicm_jax.main --config=configs/simtier.py --workdir=runs/simtier

See docs/results.md for what to expect.
"""

import pathlib
import runpy

from ml_collections import config_dict

_QUICKSTART = str(pathlib.Path(__file__).with_name("quickstart.py"))


def get_config() -> config_dict.ConfigDict:
  c = runpy.run_path(_QUICKSTART)["get_config"]()
  c.model.aggregator = "simtier"
  c.model.frozen_width = 64  # Whitened numbers that cosines are taken of.
  return c
