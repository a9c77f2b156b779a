"""Logistic regression with pictures: the least of the paper's base nets.

Reproduces in kind LR of "Image Matters" (section 5.4), its id weights learned
by FTRL-Proximal (McMahan et al., KDD 2013, Algorithm 1).

  python -m dicm_jax.main --config=configs/lr.py --workdir=runs/lr

No user meets a picture, so expect less than configs/quickstart.py gives; see
docs/results.md.
"""

import pathlib
import runpy

from ml_collections import config_dict

_QUICKSTART = str(pathlib.Path(__file__).with_name("quickstart.py"))


def get_config() -> config_dict.ConfigDict:
  c = runpy.run_path(_QUICKSTART)["get_config"]()
  c.model.name = "lr"
  c.model.id_width = 1  # An embedding is the id's weight.
  c.model.aggregator = "sum"

  # A mean over 4096 samples has gradients of 1e-4 or so a row: FTRL's sum of
  # squares stays far below its beta of 1, and the rate is that of an SGD (20
  # is too much here). l1 is held against a row's sum of gradients.
  c.sparse_optimizer.name = "ftrl"
  c.sparse_optimizer.learning_rate = 1.0
  c.sparse_optimizer.l1 = 0.0001
  return c
