"""The unified model: a sparse LR, and a module over two stored embeddings.

Reproduces in kind the third stage of "CNN embedding" for the ad ranking model
(a talk by M. Li and Y. Wang of JD.com): an LR over ids learned by FTRL with L1,
and jointly, by RMSProp with momentum, a weight for each number of x * y, where
x is the mean of the behaviours' stored vectors and y the ad's.

  python -m dicm_jax.main --config=configs/lr_unified.py --workdir=runs/unified

The LR alone: --config.model.images=none. The module on its own:
--config.model.training=apart. PLACEHOLDER
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

  # Held against a row's sum of gradients: 0.01 is that of 41 samples, of
  # batches of 4096, whose click was as good as ruled out.
  c.sparse_optimizer.l1 = 0.01

  # 512 products of two vectors of length 1 are small, so their weights are
  # large. At 0.001, which suits a dnn, they stay near 0.
  c.dense_optimizer.learning_rate = 0.3
  c.dense_optimizer.momentum = 0.9
  return c
