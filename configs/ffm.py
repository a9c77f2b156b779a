"""The most accurate net on the sample: a field-aware factorisation machine.

Pictures are fields like any other: a user's id meets the ad's picture in a
product of two short vectors, and an L2 penalty on both keeps to what a
hundred impressions a user can tell. Source: Juan et al. 2016,
https://doi.org/10.1145/2959100.2959134, with pictures added.

  python -m dicm_jax.main --config=configs/ffm.py --workdir=runs/ffm
"""

import pathlib
import runpy

from ml_collections import config_dict

_QUICKSTART = str(pathlib.Path(__file__).with_name("quickstart.py"))


def get_config() -> config_dict.ConfigDict:
  c = runpy.run_path(_QUICKSTART)["get_config"]()
  c.train.steps = 1000
  c.train.id_dropout = 0.1
  c.train.id_dropout_fields = ("ad_image_id",)

  c.model.name = "ffm"
  # A weight, and 6 numbers for each of 4 fields of the other side.
  c.model.id_width = 25
  c.model.image_widths = (24,)

  c.sparse_optimizer.name = "adam"
  c.sparse_optimizer.learning_rate = 0.03
  c.sparse_optimizer.decay_rate = 0.5
  c.sparse_optimizer.decay_steps = 200
  c.sparse_optimizer.l2 = 0.0004

  c.dense_optimizer.name = "adam"
  c.dense_optimizer.learning_rate = 0.01
  c.dense_optimizer.decay_rate = 0.5
  c.dense_optimizer.decay_steps = 200
  c.dense_optimizer.l2 = 0.004
  return c
