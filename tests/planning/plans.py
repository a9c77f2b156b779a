"""Configs' steps planned, and compiled without their numbers, for tests."""

import dataclasses
import functools

import jax

from dicm_jax import config as config_lib
from dicm_jax import experiment, train
from dicm_jax.data import click_log, sample
from dicm_jax.planning import encoder, shapes, workload
from dicm_jax.planning.shapes import Shapes
from dicm_jax.planning.workload import Workload
from dicm_jax.sharding import mesh as mesh_lib
from tests import toy

OTHER = {
  "model.name": "dcnv2",
  "model.aggregator": "target_attention",
  "model.id_width": 8,
  "model.image_widths": (64, 16),
  "model.frozen_width": 24,
  "sparse_optimizer.name": "rowwise_adagrad",
  "dense_optimizer.name": "adam",
  "train.batch_size": 512,
  "image.chunk": 64,
}
"""Another net, aggregator, pair of optimisers and batch."""
HOST = OTHER | {"image.tier": "host", "sparse_optimizer.tier": "host"}
"""The same, whose tables lie on the host."""
TITLES = OTHER | {
  "image.mode": "titles",
  "image.backbone": "text_cnn",
  "model.frozen_width": 0,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Planned:
  """A config's step on a mesh of simulated devices."""

  config: config_lib.Config
  load: Workload
  shapes: Shapes
  compiled: jax.stages.Compiled


@functools.cache
def default() -> tuple[config_lib.Config, click_log.Dataset]:
  """The default config and the sample."""
  return toy.load_config("dicm"), sample.generate(0).dataset


@functools.cache
def other() -> tuple[config_lib.Config, click_log.Dataset]:
  """A config with other values and data with lists, weights and numbers."""
  return toy.values(**_changed(OTHER)), toy.dataset()


@functools.cache
def host() -> tuple[config_lib.Config, click_log.Dataset]:
  """As `other`, but that the devices see a step's rows only."""
  return toy.values(**_changed(HOST)), toy.dataset()


@functools.cache
def titles() -> tuple[config_lib.Config, click_log.Dataset]:
  """Titles in place of pictures."""
  return toy.values(**_changed(TITLES)), toy.dataset()


KINDS = {"default": default, "other": other, "host": host, "titles": titles}


def other_experiment(worker: int, server: int) -> experiment.Experiment:
  """The experiment of `other`, with its numbers."""
  return toy.build(worker, server, **_changed(OTHER))


def host_experiment(worker: int, server: int) -> experiment.Experiment:
  """The experiment of `host`."""
  return toy.build(worker, server, **_changed(HOST))


def _changed(values: dict) -> dict:
  return {key.replace(".", "__"): value for key, value in values.items()}


@functools.cache
def planned(kind: str, worker: int, server: int) -> Planned:
  """The step of one of `KINDS`, compiled for its shapes alone."""
  config, data = KINDS[kind]()
  slices = workload.probe(config, data, worker * server)
  load = workload.measured(config, data, slices, worker, server)
  made = shapes.of_step(config, load, encoder.of_config(config))
  devices = jax.devices()[: worker * server]
  mesh = mesh_lib.make_mesh(worker, server, devices)
  program = shapes.program(config, load, made, mesh)
  step = train.make_train_step(program, made.state)
  compiled = step.lower(*shapes.on_mesh(made, mesh)).compile()
  return Planned(config=config, load=load, shapes=made, compiled=compiled)
