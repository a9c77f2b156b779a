"""placeholder

  python -m dicm_jax.main --config=configs/lr_unified.py --workdir=runs/lr_unified
"""

import pathlib
import runpy

from ml_collections import config_dict

_LR = str(pathlib.Path(__file__).with_name("lr.py"))


def get_config() -> config_dict.ConfigDict:
  c = runpy.run_path(_LR)["get_config"]()
  c.model.name = "unified"
  c.model.structure = "product"
  c.model.aggregator = "mean"
  # The embeddings are SqueezeNet's features as they are stored.
  c.model.image_widths = ()
  c.model.frozen_head = "stored"
  c.model.frozen_width = 512

  c.dense_optimizer.momentum = 0.9
  return c
