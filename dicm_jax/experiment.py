"""From a config to everything a run needs: data, mesh, content, first state."""

from collections.abc import Callable, Iterator
import dataclasses
import functools
import itertools
import pathlib
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Float, PyTree
import numpy as np

from dicm_jax import capacity, content, errors, host_ids, optim, windows
from dicm_jax import config as config_lib
from dicm_jax import state as state_lib
from dicm_jax.data import batch as batch_lib
from dicm_jax.data import (
  click_log,
  held_rows,
  id_dropout,
  occurrences,
  pipeline,
  prepared,
  room,
  sample,
)
from dicm_jax.data import layout as layout_lib
from dicm_jax.model import config as model_config
from dicm_jax.model import embed, nets
from dicm_jax.model import inputs as inputs_lib
from dicm_jax.program import Program
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import normal_blocks, table


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Experiment:
  """A run's fixed parts and its first state."""

  data: click_log.Dataset
  layout: layout_lib.Layout
  order: pipeline.Order
  drop: id_dropout.Drop
  """Which ids of the training batches count as unknown."""
  batch_size: int
  """Samples of a batch, over all devices."""
  capacities: room.Capacities
  feature_width: int
  """F, numbers of an image or title as the owners' layers take it."""
  program: Program
  content: state_lib.Content
  held: held_rows.HeldRows | None
  """Content that batches bring along; None: it lies on the devices."""
  state: state_lib.State
  encoder_digest: str
  """Of all that decides what those layers take."""
  weights_notice: str
  """What every report must say about the weights of the content's networks."""

  @property
  def inputs(self) -> dict[str, str]:
    """Digests of what the run reads, by the config key that names it."""
    return {"data.path": self.data.digest, "image.weights": self.encoder_digest}

  def batches(
    self, first_step: int, end_step: int
  ) -> Iterator[batch_lib.Batch]:
    """Training batches of steps [first_step, end_step), counted from 0."""
    return self._stream(
      self.data.train,
      self.order,
      (first_step, end_step),
      self.capacities,
      self.drop,
    )

  def host_batch(self, step: int) -> batch_lib.Batch:
    """This process's part of a training batch, made in the caller's thread."""
    return batch_lib.build(
      self.data.train,
      self.order(step),
      self.layout,
      num_devices=self.program.mesh.size,
      mine=mesh_lib.my_devices(self.program.mesh),
      capacities=self.capacities,
      dropped=self.drop(step),
    )

  def one_pass(self, log: click_log.ClickLog) -> Iterator[batch_lib.Batch]:
    """A split in its own order, the last batch padded."""
    order = pipeline.in_sequence(log, self.batch_size)
    steps = pipeline.num_batches(log, self.batch_size)
    probed = pipeline.probe(
      log, order, self.layout, num_devices=self.program.mesh.size
    )
    sizes = room.with_spare([slice.sizes for slice in probed])
    return self._stream(log, order, (0, steps), sizes, id_dropout.nothing)

  def with_rows(
    self, state: state_lib.State, batches: Iterator[batch_lib.Batch]
  ) -> Iterator[tuple[state_lib.State, batch_lib.Batch]]:
    """Batches, each with a state whose ID rows a prediction finds."""
    if self.layout.ids_windowed:
      return host_ids.with_windows(self.program.mesh, state, batches)
    return ((state, batch) for batch in batches)

  def _stream(self, log, order, steps, capacities, drop):
    """Batches laid over the mesh, each process making its own slices."""
    mesh = self.program.mesh
    made = pipeline.stream(
      log,
      order,
      self.layout,
      first_step=steps[0],
      end_step=steps[1],
      num_devices=mesh.size,
      capacities=capacities,
      drop=drop,
      mine=mesh_lib.my_devices(mesh),
      agree=mesh_lib.largest,
    )
    place = functools.partial(windows.placed, mesh, self.held)
    return pipeline.one_ahead(place, made)


def build(
  config: config_lib.Config,
  *,
  data: click_log.Dataset | None = None,
  devices: list[Any] | None = None,
  restored: bool = False,
) -> Experiment:
  """Builds an experiment.

  Args:
    config: as made by a file of configs/.
    data: the data set; None loads the one that the config names.
    devices: devices of the mesh; None takes all.
    restored: whether the state is to be read from a checkpoint. Then ID rows on
      the host get no first values, so that they do not lie there twice.

  Raises:
    InputError: a value of the config, or a file it names, is wrong.
  """
  mesh = mesh_lib.make_mesh(config.mesh.worker, config.mesh.server, devices)
  table.check_owners(mesh.size)
  model = config.model
  optim.check_sparse(config.sparse_optimizer)
  ids_on_host = config.sparse_optimizer.tier == optim.HOST
  if ids_on_host:
    host_ids.check()
  dense = optim.make_dense(config.dense_optimizer)
  check_batch_size(config.train.batch_size, mesh.size)
  check_exchange(config.train.exchange, mesh)
  kind = content.kind(config)  # VGG16 takes seconds: last of the checks.
  data = load_data(config.data) if data is None else data
  kind.check(data, model)
  layout = layout_of(config, data.features)
  drop = id_dropout.at_random(
    config.train.id_dropout,
    config.train.id_dropout_fields,
    layout,
    seed=config.seed,
    batch_size=config.train.batch_size,
  )
  order = pipeline.shuffled(data.train, config.seed, config.train.batch_size)
  # Whatever train.steps is: a run may be made longer, and its arrays stay.
  probed = pipeline.probe(data.train, order, layout, num_devices=mesh.size)
  placed = content.place(config, data, kind, mesh)
  net_def, embed_def, first_params = networks(
    config.seed,
    model,
    fields_of(layout, data.train),
    functools.partial(kind.layers, placed.width, model),
  )
  params = first_params()
  id_group, image_group = capacity.largest_groups(probed, *mesh.devices.shape)
  id_route, image_route = capacity.routes(
    id_group,
    image_group,
    *mesh.devices.shape,
    ragged=config.train.exchange == "ragged",
  )
  inverse_counts = _inverse_counts(config.sparse_optimizer, layout, data.train)
  program = Program(
    mesh=mesh,
    id_route=id_route,
    image_route=image_route,
    model=model,
    net_def=net_def,
    embed_def=embed_def,
    backbone=kind.in_step,
    image_chunk=config.image.chunk,
    sparse=optim.make_sparse(config.sparse_optimizer, inverse_counts),
    dense=dense,
  )
  if ids_on_host:
    ids = _first_ids_on_host(config, program, layout, inverse_counts, restored)
  else:
    ids = _first_ids(config, program, layout)
  return Experiment(
    data=data,
    layout=layout,
    order=order,
    drop=drop,
    batch_size=config.train.batch_size,
    capacities=room.with_spare([slice.sizes for slice in probed]),
    feature_width=placed.width,
    program=program,
    content=placed.content,
    held=placed.held,
    state=_first_state(program, ids, params, placed.standard),
    encoder_digest=kind.digest,
    weights_notice=kind.notice,
  )


def load_data(config: config_lib.Data) -> click_log.Dataset:
  """The data set that the config names."""
  if config.path:
    return prepared.load(pathlib.Path(config.path))
  return sample.generate(seed=0).dataset


def check_batch_size(batch_size: int, devices: int) -> None:
  if batch_size < 1 or batch_size % devices:
    raise errors.InputError(
      f"train.batch_size: expected a positive multiple of the {devices} "
      f"devices, found {batch_size}"
    )


def check_exchange(exchange: str, mesh: Mesh) -> None:
  """Refuses an exchange that the mesh's devices do not know."""
  on_cpu = mesh.devices.flat[0].platform == "cpu"
  if exchange == "ragged" and on_cpu and mesh.size > 1:
    raise errors.InputError(
      "train.exchange: expected 'padded', as XLA has no ragged all-to-all on "
      "CPUs; found 'ragged'"
    )


def _inverse_counts(
  config: optim.SparseConfig, layout: layout_lib.Layout, log: click_log.ClickLog
) -> Float[np.ndarray, "buckets slots 1"] | None:
  """1 / samples of each row; only the adaptive penalty must count them."""
  if not config.adaptive_l2:
    return None
  counts = np.maximum(occurrences.samples_by_row(log, layout), 1)
  return table.to_buckets((1 / counts).astype(np.float32)[:, None])


def layout_of(
  config: config_lib.Config, features: tuple[click_log.Feature, ...]
) -> layout_lib.Layout:
  """What a batch holds."""
  model = config.model
  return layout_lib.Layout(
    features=features,
    ad_images=model.sees_ad or model.sees_behaviours,
    behaviour_images=model.sees_behaviours,
    past_ids=nets.attends_to_ids(model),
    windowed=config.image.tier != content.DEVICE,
    ids_windowed=config.sparse_optimizer.tier == optim.HOST,
  )


def fields_of(
  layout: layout_lib.Layout, log: click_log.ClickLog
) -> inputs_lib.Fields:
  """What a log's samples consist of besides images."""

  def width(numbers) -> int:
    return 0 if numbers is None else numbers.shape[1]

  return inputs_lib.Fields(
    ad=layout.ad_fields,
    user=layout.user_fields,
    ad_lists=layout.ad_list_fields,
    ad_dense=width(log.ad_dense),
    user_dense=width(log.user_dense),
    context=layout.context_fields,
    past=tuple(inputs_lib.Past(*names) for names in layout.past_fields),
  )


def networks(
  seed: int,
  model: model_config.ModelConfig,
  fields: inputs_lib.Fields,
  make_layers: Callable[..., embed.Layers],
) -> tuple[nnx.GraphDef, nnx.GraphDef, Callable[[], dict[str, PyTree]]]:
  """Definitions of the two trainable networks, and what makes parameters.

  Args:
    seed: of the first parameters.
    model: the CTR network's shape.
    fields: what samples consist of.
    make_layers: makes the owners' layers, of `rngs`.

  Returns:
    The CTR network, the owners' layers, and a function that makes the first
    parameters of both.
  """

  def make():
    rngs = nnx.Rngs(seed)
    net = nets.make(model, fields=fields, total=mesh_lib.total, rngs=rngs)
    return {"embed": make_layers(rngs=rngs), "net": net}

  def definition(name: str):
    return nnx.split(nnx.eval_shape(lambda: make()[name]))[0]

  # One compilation in place of one for each layer's shape.
  first_params = jax.jit(
    lambda: {k: nnx.to_pure_dict(nnx.state(v)) for k, v in make().items()}
  )
  return definition("net"), definition("embed"), first_params


def _first_ids(config: config_lib.Config, program: Program, layout):
  """First rows and their slots, on their devices."""
  ids = table.init_normal(
    jax.random.key(config.seed),
    layout.num_rows,
    program.model.id_width,
    stddev=nets.first_stddev(program.model),
    mesh=program.mesh,
    spec=mesh_lib.BATCH,
  )
  return ids, program.sparse.init(ids)


def _first_ids_on_host(
  config: config_lib.Config, program: Program, layout, inverse_counts, restored
):
  """The same on the host; of zeros, but for a block, if they are restored."""
  blocks = normal_blocks.blocks(
    jax.random.key(config.seed),
    layout.num_rows,
    program.model.id_width,
    stddev=nets.first_stddev(program.model),
    device=program.mesh.devices.flat[0],
  )

  def init(buckets: slice, rows: jax.Array):
    counts = None if inverse_counts is None else inverse_counts[buckets]
    return optim.make_sparse(config.sparse_optimizer, counts).init(rows)

  return host_ids.first_rows(
    itertools.islice(blocks, 1) if restored else blocks, init
  )


def _first_state(program: Program, of_ids, params, standard) -> state_lib.State:
  """Initial parameters and optimiser slots where they belong."""
  ids, id_slots = of_ids
  state = state_lib.State(
    step=jnp.int32(0),
    ids=ids,
    id_slots=id_slots,
    dense=params,
    dense_slots=program.dense.init(params),
    standard=standard,
  )

  def place(leaf, spec):
    if spec == mesh_lib.BATCH and isinstance(leaf, np.ndarray):
      return leaf  # Rows that lie on the host.
    return jax.device_put(leaf, jax.sharding.NamedSharding(program.mesh, spec))

  return jax.tree.map(place, state, state_lib.specs_of(state))
