"""configs/dicm.py with SqueezeNet, whose ImageNet weights are bundled.

Real pre-trained features with no download: 512 numbers an image in place of
VGG16's 4096. Everything else is as in configs/dicm.py.

  python -m dicm_jax.main --config=configs/quickstart.py --workdir=runs/quick
"""

import importlib.util
import pathlib

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  # A config file is loaded by path, so its neighbour is as well.
  path = pathlib.Path(__file__).with_name("dicm.py")
  spec = importlib.util.spec_from_file_location("dicm_config", path)
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  c = module.get_config()
  c.image.backbone = "squeezenet"
  return c
