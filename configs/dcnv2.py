"""Deep & Cross Network V2 with pictures: products of fields, beside an MLP.

A base net younger than "Image Matters", joined to pictures as its own are
(section 5.4). Source: https://arxiv.org/abs/2008.13535, section 3.

  python -m dicm_jax.main --config=configs/dcnv2.py --workdir=runs/dcnv2

See docs/results.md for what to expect.
"""

import pathlib
import runpy

from ml_collections import config_dict

_QUICKSTART = str(pathlib.Path(__file__).with_name("quickstart.py"))


def get_config() -> config_dict.ConfigDict:
  c = runpy.run_path(_QUICKSTART)["get_config"]()
  c.model.name = "dcnv2"
  return c
