"""DICM on the built-in sample, with VGG16: the default experiment.

Reproduces in kind the rank model of "Image Matters" (CIKM 2018,
https://arxiv.org/abs/1711.06505): ID fields, ad image and behaviour images,
multi-query attention. The clicks of the sample are simulated on photographs.

  python -m dicm_jax.main --config=configs/dicm.py --workdir=runs/dicm

Without weights (see image.weights) VGG16 is random, and says so.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  c = config_dict.ConfigDict()
  c.seed = 0

  c.data = config_dict.ConfigDict()
  c.data.path = ""  # Empty: the built-in sample.

  c.mesh = config_dict.ConfigDict()
  c.mesh.worker = 1  # Devices along 'worker'; -1: all the rest.
  c.mesh.server = -1  # Devices along 'server', which hold the tables.

  c.train = config_dict.ConfigDict()
  c.train.steps = 600  # 12 passes over the 200 000 training impressions.
  c.train.batch_size = 4096  # Samples, over all devices.
  c.train.log_every_steps = 50
  c.train.exchange = "padded"  # padded | ragged: between GPUs or TPUs.
  c.train.ahead = False  # Ask for the next batch's rows while training.
  c.train.id_dropout = 0.0  # Probability that an id counts as unknown.
  c.train.id_dropout_fields = ()  # Of the ad side, e.g. ("ad_id",).

  c.warm_up = config_dict.ConfigDict()
  c.warm_up.mode = "none"  # none | partial (paper: all but ids) | full
  c.warm_up.workdir = ""  # Folder of the run to start from.

  c.image = config_dict.ConfigDict()
  # vgg16 | squeezenet | inception_v3 | precomputed | text_cnn (titles)
  c.image.backbone = "vgg16"
  c.image.cut = ""  # vgg16: conv5, fc6 (default, paper 4.2), fc7 or fc8.
  c.image.weights = ""  # File, "download", "random"; empty: what is bundled.
  # features: encoded once | pixels: in each step | titles, by text_cnn.
  c.image.mode = "features"
  c.image.chunk = 256  # Images an owner embeds at a time.
  # Of the encoder in the step, and of features held: float32 | bfloat16
  c.image.dtype = "float32"
  # Where all content lies: device | host: memory of each process | file.
  c.image.tier = "device"

  c.text = config_dict.ConfigDict()  # Of titles alone.
  c.text.length = 16  # Words of a title.
  c.text.buckets = 4096  # Numbers that words can have, by hash.

  c.model = config_dict.ConfigDict()
  c.model.name = "dicm"
  c.model.images = "both"  # both | ad | behaviour | none (ids only)
  c.model.aggregator = "multi_query_attentive"
  c.model.normalize = "length"  # Attention weights: none | length | softmax.
  c.model.id_width = 12  # Paper, section 4.1.
  c.model.image_widths = (256, 64, 12)  # Paper, section 4.2.
  c.model.frozen_head = "whitened"  # Components | stored: all of the features.
  c.model.frozen_width = 0  # Numbers of the frozen head beside the trained.
  c.model.image_nets = "shared"  # By ad and behaviour images | separate
  c.model.hidden_widths = (200, 80)  # Paper, section 4.1.
  c.model.outputs = 2  # Softmax over no click and click; 1: one logit.
  c.model.activation = "prelu"  # prelu | relu | dice
  c.model.output_activation = "linear"  # Of last layers: linear | relu.
  c.model.structure = "product"  # Of the unified net: dot | product | dnn.
  c.model.training = "joint"  # Of the unified net: joint | apart.

  c.sparse_optimizer = config_dict.ConfigDict()
  # adagrad | rowwise_adagrad | adam (lazy) | ftrl | sgd
  c.sparse_optimizer.name = "adagrad"
  c.sparse_optimizer.learning_rate = 0.02
  c.sparse_optimizer.decay_rate = 1.0  # Factor every decay_steps; 1: none.
  c.sparse_optimizer.decay_steps = 24_000
  c.sparse_optimizer.clip_norm = 0.0  # Of a row's gradient; 0: any.
  c.sparse_optimizer.l1 = 0.0  # Of FTRL alone: McMahan et al. 2013.
  c.sparse_optimizer.l2 = 0.0  # On rows touched; FTRL: its own.
  # Shared out over a row's samples: arXiv 1706.06978, section 5.1. 0: none.
  c.sparse_optimizer.adaptive_l2 = 0.0
  c.sparse_optimizer.start_step = 0  # Before it, rows stay as they began.
  # Where the rows and their slots lie: device | host: memory of the process.
  c.sparse_optimizer.tier = "device"

  c.dense_optimizer = config_dict.ConfigDict()
  # Any of optax that runs on a learning rate alone.
  c.dense_optimizer.name = "rmsprop"
  c.dense_optimizer.learning_rate = 0.001
  c.dense_optimizer.decay_rate = 0.5  # Calms RMSProp down; paper: 0.9.
  c.dense_optimizer.decay_steps = 200  # Paper: 24 000, of 128 000 steps.
  c.dense_optimizer.clip_norm = 0.0  # Of all gradients in one; 0: any.
  c.dense_optimizer.l2 = 0.0  # On kernels, in the gradient; 0: none.
  c.dense_optimizer.momentum = 0.0  # Of sgd and rmsprop, < 1; 0: none.
  c.dense_optimizer.epsilon = 0.0  # Of a divisor; 0: optax's, often 1e-8.

  c.checkpoint = config_dict.ConfigDict()
  c.checkpoint.every_steps = 200
  c.checkpoint.keep = 2  # Newest kept.
  return c.lock()
