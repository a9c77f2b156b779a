"""The XDL CrossMedia example to the letter: ReLU on the last layers as well.

A slip of the example, not of the paper: a logit that cannot fall below zero
predicts no click below one half, and a unit that falls below zero for all
images stays there. To compare with what was trained by the example; for
anything else take configs/xdl_example.py. Its loss is the sum over a batch,
ours the mean: Adam's steps are the same but for its epsilon. Its first weights
are truncated normals of deviation 0.1 / fan-in, ours are flax's.

Source: https://github.com/alibaba/x-deeplearning, xdl-algorithm-solution,
CrossMedia.

Data as for configs/xdl_example.py, then

  python -m dicm_jax.main --config=configs/xdl_parity.py \
    --config.data.path=runs/xdl/prepared --workdir=runs/xdl/parity

Expect an AUC of one half: labels and images are noise.
"""

import pathlib
import runpy

from ml_collections import config_dict

_XDL = str(pathlib.Path(__file__).with_name("xdl_example.py"))


def get_config() -> config_dict.ConfigDict:
  c = runpy.run_path(_XDL)["get_config"]().unlock()
  c.model.output_activation = "relu"
  return c.lock()
