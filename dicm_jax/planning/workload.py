"""What a step has to do: rows, samples and lists, measured or stated."""

import dataclasses
import math

import numpy as np

from dicm_jax import capacity, content, experiment, optim
from dicm_jax import config as config_lib
from dicm_jax.data import click_log, pipeline, room
from dicm_jax.model import inputs as inputs_lib
from dicm_jax.model import nets

STATED = (
  "page_views",
  "behaviours",
  "user_ids",
  "ad_fields",
  "user_fields",
  "distinct_ids",
  "distinct_images",
)
"""Fields of `Stated` that describe a step's samples."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Workload:
  """A step on a mesh of worker x server devices."""

  worker: int
  server: int
  fields: inputs_lib.Fields
  weighted: frozenset[str]
  """Those of the lists whose values have weights."""
  id_rows: int
  """Rows of the stacked ID table."""
  image_rows: int
  batch_size: int
  """Samples, over all devices."""
  room: room.Capacities
  """Sizes of a device's ragged arrays."""
  distinct_ids: float
  """Distinct ID rows of a device's slice, in the mean."""
  distinct_images: float
  served_ids: float
  """Distinct ID rows that an owner is asked for, in the mean."""
  served_images: float
  id_group: int
  """Most ID rows that a slice asks of one owner in the first round."""
  image_group: int

  @property
  def devices(self) -> int:
    return self.worker * self.server

  @property
  def id_rows_there(self) -> int:
    """ID rows on the devices while a step runs: all, or those it asks for."""
    return self.room.get("id_window", self.id_rows)

  @property
  def image_rows_there(self) -> int:
    """Image rows on the devices while a step runs."""
    return self.room.get("content_rows", self.image_rows)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stated:
  """A step over all devices, in numbers that somebody knows."""

  id_rows: int
  images: int
  page_views: int
  """Groups of samples that share a user and a history."""
  behaviours: int
  """Behaviour images of all page views together."""
  user_ids: int
  """ID values of the user side of all page views together."""
  ad_fields: int
  """ID fields with one id a sample."""
  user_fields: int
  distinct_ids: int
  """Distinct ID rows of each device's slice, added up over the devices."""
  distinct_images: int
  """Distinct images of each device's slice, added up over the devices."""


def probe(
  config: config_lib.Config, data: click_log.Dataset, devices: int
) -> list[pipeline.Probed]:
  """Slices of the batches that training looks at first."""
  layout = experiment.layout_of(config, data.features)
  order = pipeline.shuffled(data.train, config.seed, config.train.batch_size)
  return pipeline.probe(data.train, order, layout, num_devices=devices)


def measured(
  config: config_lib.Config,
  data: click_log.Dataset,
  probed: list[pipeline.Probed],
  worker: int,
  server: int,
) -> Workload:
  """The workload of a data set.

  Args:
    config: of the run.
    data: its data set.
    probed: as `probe` finds them for worker x server devices.
    worker: devices along `worker`.
    server: devices along `server`; the batch can be cut for all of them.
  """
  layout = experiment.layout_of(config, data.features)
  log = data.train
  id_group, image_group = capacity.largest_groups(probed, worker, server)
  ids = [piece.id_rows for piece in probed]
  images = [piece.image_rows for piece in probed]
  lists = log.user_ids | log.ad_lists
  return Workload(
    worker=worker,
    server=server,
    fields=experiment.fields_of(layout, log),
    weighted=frozenset(k for k, v in lists.items() if v.weights is not None),
    id_rows=layout.num_rows,
    image_rows=max(len(data.image_names), 1),
    batch_size=config.train.batch_size,
    room=room.with_spare([piece.sizes for piece in probed]),
    distinct_ids=float(np.mean([len(rows) for rows in ids])),
    distinct_images=float(np.mean([len(rows) for rows in images])),
    served_ids=_served(ids, worker * server),
    served_images=_served(images, server),
    id_group=id_group,
    image_group=image_group,
  )


def _served(rows: list[np.ndarray], owners: int) -> float:
  """Distinct rows an owner, where as many slices as owners ask together."""
  parts = [rows[i : i + owners] for i in range(0, len(rows), owners)]
  distinct = [len(np.unique(np.concatenate(part))) for part in parts]
  return float(np.mean(distinct)) / owners


def stated(
  config: config_lib.Config, of: Stated, worker: int, server: int
) -> Workload:
  """A workload of numbers alone; nothing is read.

  Rows are taken to fall on owners at random, and no row to be asked for by two
  devices, which is the most that owners can have to do.
  """
  devices = worker * server
  ids, images = of.distinct_ids / devices, of.distinct_images / devices
  sizes = _sizes(config, of, devices)
  return Workload(
    worker=worker,
    server=server,
    fields=_fields(of),
    weighted=frozenset(),
    id_rows=of.id_rows,
    image_rows=max(of.images, 1),
    batch_size=config.train.batch_size,
    room=room.with_spare([sizes]),
    distinct_ids=ids,
    distinct_images=images,
    served_ids=ids,
    served_images=images,
    id_group=largest_of(ids / devices, trials=_PROBED * devices**2),
    image_group=largest_of(images / server, trials=_PROBED * devices * server),
  )


_PROBED = pipeline.PROBED_BATCHES


def largest_of(mean: float, *, trials: int) -> int:
  """The largest of so many counts of rare events of this mean.

  The largest of t standard normal numbers is about sqrt(2 ln t).

  >>> largest_of(400.0, trials=1000)
  475
  """
  return max(1, math.ceil(mean + math.sqrt(2 * math.log(trials) * mean)))


def _fields(of: Stated) -> inputs_lib.Fields:
  ad = tuple(f"ad_{i}" for i in range(of.ad_fields))
  user = tuple(f"user_{i}" for i in range(of.user_fields))
  # Nets that attend to ids need to know past clicks of what; others do not ask.
  past = (inputs_lib.Past(user[0], ad[0]),) if ad and user else ()
  return inputs_lib.Fields(ad=ad, user=user, past=past)


def _sizes(
  config: config_lib.Config, of: Stated, devices: int
) -> room.Capacities:
  """Each ragged array's size on one device."""
  each = of.behaviours / of.page_views
  pairs = config.train.batch_size / devices * each
  model = config.model
  values = of.user_ids / devices / max(of.user_fields, 1)
  found = {f"ids.user_{i}": values for i in range(of.user_fields)} | {
    "id_rows": of.distinct_ids / devices,
    "image_rows": of.distinct_images / devices,
    "groups": of.page_views / devices,
    "behaviours": of.behaviours / devices if model.sees_behaviours else 0,
    "image_pairs": pairs if model.sees_behaviours else 0,
    "id_pairs": pairs if nets.attends_to_ids(model) else 0,
  }
  if config.image.tier != content.DEVICE:
    found["content_rows"] = of.distinct_images
  if config.sparse_optimizer.tier == optim.HOST:
    # Numbers go round among the owners, up to the one that has most rows.
    most = largest_of(of.distinct_ids / devices, trials=_PROBED * devices)
    found["id_window"] = devices * most
  return {name: math.ceil(size) for name, size in found.items()}
