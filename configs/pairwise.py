"""Trains an encoder of pictures on pairs: a clicked item, and one beside it.

For the user's last click as an anchor, or the page view's query, the clicked
item's embedding is to have the larger inner product. Batch normalisation sees
all pictures together; a strided convolution stands where pooling would.
Source: CNN embeddings for ad ranking, JD.com, stage 1.

  python -m dicm_jax.main --config=configs/pairwise.py --workdir=runs/pairwise

On the sample (seed 0) expect .601 of test pairs in order, after one to two
minutes of two cores; 800 steps, with decay_steps=500, gave .616. At 64 pixels a
step takes four times as long, and 200 steps gave .581 where they gave .594 at
32. The loss stays near .66, as a last click tells little; the true
probabilities order .819 of the pairs.

The folder then holds encoder.safetensors, a backbone like any other:
--config.image.backbone=trained --config.image.weights=runs/pairwise.
With --config.pairs.anchor=query there is query_encoder.safetensors beside it.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  c = config_dict.ConfigDict()
  c.task = "pairwise"
  c.seed = 0
  c.data = {"path": ""}  # Folder of a prepared data set; empty: the sample.
  c.mesh = {"worker": 1, "server": -1}  # Devices; -1: all the rest.

  c.train = config_dict.ConfigDict()
  c.train.steps = 400
  c.train.batch_size = 64  # Pairs, so 192 pictures a step.
  c.train.log_every_steps = 20

  c.encoder = config_dict.ConfigDict()
  c.encoder.name = "small_inception"  # small_inception | inception_v3
  c.encoder.width = 32  # Numbers of an embedding.
  c.encoder.image_size = 32  # Pixels.
  c.encoder.last = "strided"  # strided | max
  # First values of inception_v3, at 299 pixels: a file, "download"; or random.
  c.encoder_weights = ""

  c.text = config_dict.ConfigDict()  # Of queries; read where they are anchors.
  c.text.length = 8  # Words of a query that are read.
  c.text.buckets = 10000  # Numbers that words can have, by hash.

  c.pairs = config_dict.ConfigDict()
  c.pairs.anchor = "click"  # The user's last click, or the page view's: query.
  c.pairs.loss = "logistic"  # logistic | hinge
  c.pairs.statistics = "joint"  # Of batch normalisation: joint | separate.
  c.pairs.shift = 4  # Pixels by which pictures move; 0: no augmentation.

  c.dense_optimizer = config_dict.ConfigDict()
  c.dense_optimizer.name = "adam"
  c.dense_optimizer.learning_rate = 0.001
  c.dense_optimizer.decay_rate = 0.5
  c.dense_optimizer.decay_steps = 200
  c.dense_optimizer.momentum = 0.0  # Of sgd and rmsprop, < 1; 0: none.
  c.dense_optimizer.epsilon = 0.0  # Of a divisor; 0: optax's.
  c.dense_optimizer.clip_norm = 0.0  # 0: no clipping.
  c.dense_optimizer.l2 = 0.0001

  c.checkpoint = {"every_steps": 100, "keep": 2}
  return c.lock()
