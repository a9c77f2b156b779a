"""A small click log on coloured squares, and runs on it, for tests."""

import dataclasses
import functools
import io
import pathlib
import runpy

import jax
import numpy as np
from PIL import Image

from dicm_jax import config as config_lib
from dicm_jax import experiment, training
from dicm_jax.data import click_log

NUM_IMAGES = 40
NUM_USERS = 30
_BUILD = experiment.build


def values(**overrides) -> config_lib.Config:
  """A small config; overrides by dotted key with '__' for '.'."""
  flat = {
    "seed": 0,
    "data.path": "",
    "mesh.worker": 1,
    "mesh.server": -1,
    "train.steps": 30,
    "train.batch_size": 64,
    "train.log_every_steps": 10,
    "train.exchange": "padded",
    "train.ahead": False,
    "train.id_dropout": 0.0,
    "train.id_dropout_fields": (),
    "warm_up.mode": "none",
    "warm_up.workdir": "",
    "image.backbone": "squeezenet",
    "image.cut": "",
    "image.weights": "",
    "image.mode": "features",
    "image.chunk": 8,
    "image.dtype": "float32",
    "image.tier": "device",
    "text.length": 4,
    "text.buckets": 50,
    "model.name": "dicm",
    "model.images": "both",
    "model.aggregator": "multi_query_attentive",
    "model.normalize": "length",
    "model.id_width": 12,
    "model.image_widths": (16, 12),
    "model.frozen_head": "whitened",
    "model.frozen_width": 0,
    "model.image_nets": "shared",
    "model.hidden_widths": (20, 8),
    "model.outputs": 2,
    "model.activation": "prelu",
    "model.output_activation": "linear",
    "model.structure": "product",
    "model.training": "joint",
    "sparse_optimizer.name": "adagrad",
    "sparse_optimizer.learning_rate": 0.05,
    "sparse_optimizer.decay_rate": 1.0,
    "sparse_optimizer.decay_steps": 1000,
    "sparse_optimizer.clip_norm": 0.0,
    "sparse_optimizer.l1": 0.0,
    "sparse_optimizer.l2": 0.0,
    "sparse_optimizer.adaptive_l2": 0.0,
    "sparse_optimizer.start_step": 0,
    "sparse_optimizer.tier": "device",
    "dense_optimizer.name": "rmsprop",
    "dense_optimizer.learning_rate": 0.001,
    "dense_optimizer.decay_rate": 1.0,
    "dense_optimizer.decay_steps": 1000,
    "dense_optimizer.clip_norm": 0.0,
    "dense_optimizer.l2": 0.0,
    "dense_optimizer.momentum": 0.0,
    "dense_optimizer.epsilon": 0.0,
    "checkpoint.every_steps": 10,
    "checkpoint.keep": 2,
  }
  flat |= {key.replace("__", "."): v for key, v in overrides.items()}
  nested: dict = {}
  for key, value in flat.items():
    *path, last = key.split(".")
    section = nested
    for name in path:
      section = section.setdefault(name, {})
    section[last] = value
  return config_lib.from_dict(nested)


@functools.cache
def dataset(seed: int = 0) -> click_log.Dataset:
  """Users who click what is red, in groups of 1 to 6 impressions."""
  rng = np.random.default_rng(seed)
  colours = rng.integers(0, 256, (NUM_IMAGES, 3))
  return click_log.Dataset(
    features=(
      click_log.Feature(name="user_id", side="user", rows=NUM_USERS + 1),
      click_log.Feature(
        name="liked", side="user", rows=NUM_IMAGES + 1, past_of="ad_id"
      ),
      click_log.Feature(name="ad_id", side="ad", rows=NUM_IMAGES + 1),
      click_log.Feature(name="position", side="ad", rows=7),
      click_log.Feature(name="tags", side="ad", rows=9, lists=True),
    ),
    train=log(rng, colours, num_groups=200),
    test=log(rng, colours, num_groups=60),
    image_names=tuple(f"{i}.png" for i in range(NUM_IMAGES)),
    image_bytes=tuple(_png(colour) for colour in colours),
    titles=("", *(_title(colour) for colour in colours[1:])),
    notice="toy",
  )


def log(rng, colours, *, num_groups: int) -> click_log.ClickLog:
  """Random groups; a red ad is clicked more often."""
  size = rng.integers(1, 7, num_groups)
  group = np.repeat(np.arange(num_groups), size)
  n = len(group)
  ad = rng.integers(0, NUM_IMAGES, n)
  user = rng.integers(0, NUM_USERS, num_groups)
  lengths = rng.integers(0, 6, num_groups)  # Some histories are empty.
  offsets = np.concatenate([[0], np.cumsum(lengths)])
  seen = rng.integers(0, NUM_IMAGES, offsets[-1])
  probability = 1 / (1 + np.exp(-(colours[ad, 0] - 128) / 40))
  (more,) = rng.spawn(1)
  return click_log.ClickLog(
    user_ids={
      "user_id": click_log.Jagged(user + 1, np.arange(num_groups + 1)),
      "liked": click_log.Jagged(seen + 1, offsets),
    },
    ad_ids={"ad_id": ad + 1, "position": rng.integers(0, 7, n)},
    ad_lists={"tags": _tags(more, n)},
    user_dense=more.random((num_groups, 2), np.float32),
    ad_dense=more.random((n, 1), np.float32),
    behaviour_images=click_log.Jagged(seen, offsets),
    ad_image=ad,
    label=(rng.random(n) < probability).astype(np.float32),
    group=group,
    user=user,
    time=np.arange(num_groups) * 3_600_000,
    true_probability=probability,
  )


def _tags(rng, n: int) -> click_log.Jagged:
  """None to three weighted tags a sample."""
  offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 4, n))])
  weights = rng.random(offsets[-1], np.float32)
  return click_log.Jagged(rng.integers(0, 9, offsets[-1]), offsets, weights)


def _title(colour) -> str:
  """Words for what is much in a colour, e.g. "square red blue"."""
  names = ("red", "green", "blue")
  much = [n for n, c in zip(names, colour, strict=True) if c > 128]
  return " ".join(["square", *much])


def _png(colour) -> bytes:
  pixels = np.full((16, 16, 3), colour, np.uint8)
  pixels[4:8] //= 2
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, format="PNG")
  return buffer.getvalue()


def build(worker: int = 1, server: int = 1, *, data=None, **overrides):
  """The experiment on the first worker x server simulated devices."""
  return experiment.build(
    values(mesh__worker=worker, mesh__server=server, **overrides),
    data=dataset() if data is None else data,
    devices=jax.devices()[: worker * server],
  )


def default_experiment(worker: int, server: int):
  """The experiment of configs/quickstart.py on simulated devices."""
  config = load_config("quickstart")
  mesh = config_lib.Mesh(worker=worker, server=server)
  return experiment.build(
    dataclasses.replace(config, mesh=mesh),
    devices=jax.devices()[: worker * server],
  )


def load_config(name: str) -> config_lib.Config:
  """The config of a file in configs/."""
  path = pathlib.Path(__file__).parents[1] / "configs" / f"{name}.py"
  return config_lib.from_dict(
    runpy.run_path(str(path))["get_config"]().to_dict()
  )


def run(x: experiment.Experiment, steps: int, **options):
  """Trains; returns the state and the losses."""
  made = training.of(x, **options)
  state, losses = jax.tree.map(lambda leaf: leaf.copy(), x.state), []
  for batch in made.batches(0, steps):
    state, loss = made.step(state, batch)
    losses.append(float(loss))
  return made.at_rest(state), np.array(losses)


def reordered(kind: str) -> click_log.Dataset:
  """The toy data with its rows moved to provoke the exchange.

  Args:
    kind: `one owner`: one device owns every ID and image row; `idle owners`:
      half of the devices own none of them; `one id`: every sample has the
      same IDs and image; `spread`: ID rows lie far apart.
  """
  data = dataset()
  stride, images = {
    # Rows that are equal modulo the buckets lie in one bucket.
    "one owner": (256, lambda row: row * 0 + 32 * (row % 2)),
    # Even rows lie in the lower half of the buckets.
    "idle owners": (2, lambda row: row // 2 * 2),
    "one id": (0, lambda row: row * 0 + 5),
    "spread": (37, lambda row: row),
  }[kind]
  features = tuple(
    dataclasses.replace(f, rows=max(f.rows * stride, 256))
    for f in data.features
  )

  def move(log: click_log.ClickLog) -> click_log.ClickLog:
    behaviours = log.behaviour_images
    return dataclasses.replace(
      log,
      user_ids={
        name: lists._replace(values=lists.values * stride)
        for name, lists in log.user_ids.items()
      },
      ad_ids={name: rows * stride for name, rows in log.ad_ids.items()},
      ad_lists={
        name: lists._replace(values=lists.values * stride)
        for name, lists in log.ad_lists.items()
      },
      behaviour_images=behaviours._replace(values=images(behaviours.values)),
      ad_image=images(log.ad_image),
    )

  return dataclasses.replace(
    data, features=features, train=move(data.train), test=move(data.test)
  )


def small_runs(monkeypatch, *, data=None, devices: int = 1) -> None:
  """Lets a whole run train on the toy data and a few devices."""
  build = functools.partial(
    _BUILD,
    data=dataset() if data is None else data,
    devices=jax.devices()[:devices],
  )
  monkeypatch.setattr(experiment, "build", build)
