"""Deep Interest Network with pictures: attention to past ids and past images.

Reproduces in kind DIN of "Image Matters" (section 5.4), with Dice and the
adaptive L2 of DIN's own paper (https://arxiv.org/abs/1706.06978, section 5).

  python -m dicm_jax.main --config=configs/din.py --workdir=runs/din

See docs/results.md for what to expect.
"""

import pathlib
import runpy

from ml_collections import config_dict

_QUICKSTART = str(pathlib.Path(__file__).with_name("quickstart.py"))


def get_config() -> config_dict.ConfigDict:
  c = runpy.run_path(_QUICKSTART)["get_config"]()
  c.model.name = "din"
  c.model.activation = "dice"
  c.sparse_optimizer.adaptive_l2 = 0.1
  return c
