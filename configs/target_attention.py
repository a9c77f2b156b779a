"""Multi-head attention of the ad to past pictures, recent ones apart.

Scaled dot products (https://arxiv.org/abs/1706.03762, section 3.2) in place of
the multi-query attention of "Image Matters" (section 4.3).

  python -m dicm_jax.main --config=configs/target_attention.py \
    --workdir=runs/target_attention

See docs/results.md for what to expect.
"""

import pathlib
import runpy

from ml_collections import config_dict

_QUICKSTART = str(pathlib.Path(__file__).with_name("quickstart.py"))


def get_config() -> config_dict.ConfigDict:
  c = runpy.run_path(_QUICKSTART)["get_config"]()
  c.model.aggregator = "target_attention"
  c.model.frozen_width = 64  # Frozen numbers of a picture beside the trained.
  return c
