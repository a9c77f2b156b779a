"""Two towers whose vectors meet in an inner product, to rank ads in advance.

Reproduces in kind the pre-rank model of "Image Matters" (section 4.4).

  python -m dicm_jax.main --config=configs/prerank.py --workdir=runs/prerank
  python -m dicm_jax.export --workdir=runs/prerank --out=vectors --towers

The second writes the vectors of ads and page views. See docs/results.md for
what to expect beside configs/quickstart.py, whose net sees both sides at once.
"""

import pathlib
import runpy

from ml_collections import config_dict

_QUICKSTART = str(pathlib.Path(__file__).with_name("quickstart.py"))


def get_config() -> config_dict.ConfigDict:
  c = runpy.run_path(_QUICKSTART)["get_config"]()
  c.model.name = "prerank"
  c.model.aggregator = "sum"  # The user's tower sees no ad to attend with.
  return c
