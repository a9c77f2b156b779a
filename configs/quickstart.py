"""configs/dicm.py with SqueezeNet, whose ImageNet weights are bundled.

Real pre-trained features with no download: 512 numbers an image in place of
VGG16's 4096. Everything else is as in configs/dicm.py.

  python -m dicm_jax.main --config=configs/quickstart.py --workdir=runs/quick
"""

import pathlib
import runpy

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  # A config file is loaded by path, so its neighbour is as well.
  dicm = runpy.run_path(str(pathlib.Path(__file__).with_name("dicm.py")))
  c = dicm["get_config"]()
  c.image.backbone = "squeezenet"
  return c
