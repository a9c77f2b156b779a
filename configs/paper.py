"""The recipe of "Image Matters": Adam for all, and a rate that hardly falls.

Adam at 0.001, x 0.9 every 24 000 steps, for ids and all else, and the
adaptive L2 of DIN (https://arxiv.org/abs/1706.06978, section 5.1).

  python -m dicm_jax.main --config=configs/paper.py --workdir=runs/paper

The paper has 128 000 steps, and VGG16 (--config.image.backbone=vgg16). See
docs/results.md for what to expect of 600 steps on the sample.
"""

import pathlib
import runpy

from ml_collections import config_dict

_QUICKSTART = str(pathlib.Path(__file__).with_name("quickstart.py"))


def get_config() -> config_dict.ConfigDict:
  c = runpy.run_path(_QUICKSTART)["get_config"]()
  for optimizer in (c.sparse_optimizer, c.dense_optimizer):
    optimizer.name = "adam"
    optimizer.learning_rate = 0.001
    optimizer.decay_rate = 0.9
    optimizer.decay_steps = 24_000
  c.sparse_optimizer.adaptive_l2 = 0.1
  return c
