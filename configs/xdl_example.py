"""The model of the XDL CrossMedia example, on data in its formats.

Two separate image networks, behaviour images summed, ids summed to 16 numbers
a feature, 100-10-1, ReLU, Adam 0.0005, batches of 16. Two slips of the example
are left out: ReLU on the last layers, and behaviour images that land on the
wrong sample.
Source: https://github.com/alibaba/x-deeplearning, xdl-algorithm-solution,
CrossMedia.

  python -m dicm_jax.data.readers.xdl_example runs/xdl
  python -m dicm_jax.prepare --format=xdl --samples=runs/xdl/samples.txt \
    --vectors=runs/xdl/images --out=runs/xdl/prepared
  python -m dicm_jax.main --config=configs/xdl_example.py \
    --config.data.path=runs/xdl/prepared --workdir=runs/xdl/run

Expect an AUC of one half: labels and images are noise.
"""

import pathlib
import runpy

from ml_collections import config_dict

_DICM = str(pathlib.Path(__file__).with_name("dicm.py"))


def get_config() -> config_dict.ConfigDict:
  c = runpy.run_path(_DICM)["get_config"]().unlock()
  c.train.steps = 1000
  c.train.batch_size = 16

  c.image.backbone = "precomputed"  # 4096 numbers a record.
  c.image.chunk = 64

  c.model.aggregator = "sum"
  c.model.id_width = 16
  c.model.image_nets = "separate"
  c.model.hidden_widths = (100, 10)
  c.model.outputs = 1
  c.model.activation = "relu"

  c.sparse_optimizer.name = "adam"
  c.sparse_optimizer.learning_rate = 0.0005
  c.dense_optimizer.name = "adam"
  c.dense_optimizer.learning_rate = 0.0005
  c.dense_optimizer.decay_rate = 1.0
  return c.lock()
