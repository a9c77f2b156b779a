"""Pictures learn for all epochs, ids for the last alone, as after MAKE.

Networks that share a picture gain from many epochs, id embeddings overfit from
the second. The schedule of "Enhancing Taobao Display Advertising with
Multimodal Representations" (https://arxiv.org/abs/2407.19467) in one
run: the paper trains the two parts one after the other.

  python -m dicm_jax.main --config=configs/make.py --workdir=runs/make

Of the sample's 12 epochs ids see the last; see docs/results.md.
"""

import pathlib
import runpy

from ml_collections import config_dict

_QUICKSTART = str(pathlib.Path(__file__).with_name("quickstart.py"))


def get_config() -> config_dict.ConfigDict:
  c = runpy.run_path(_QUICKSTART)["get_config"]()
  c.sparse_optimizer.start_step = 551  # Of 600; 49 steps are an epoch.
  return c
