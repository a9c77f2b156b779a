"""A sharded run is the one-device run: losses, parameters, table rows."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from dicm_jax import train
from dicm_jax.data import batch as batch_lib
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import route, table
from tests import toy

STEPS = 30
MESHES = [
  (1, 8),
  (2, 4),
  *(
    pytest.param(*shape, marks=pytest.mark.slow)
    for shape in [(1, 2), (4, 2), (8, 1)]
  ),
]


@functools.cache
def one_device(kind: str = "as it is"):
  """State and losses of the run without any exchange."""
  data = None if kind == "as it is" else toy.reordered(kind)
  return toy.run(toy.build(1, 1, data=data), STEPS)


def assert_same_run(found, expected):
  """Losses, table rows and parameters agree to 1e-4 of their own size.

  Norms, not single numbers: where a sum in another order tips an activation
  over the kink of PReLU, one entry of a bias may move by more than itself. But
  no entry moves by more than 1e-3 of its array's largest.
  """
  np.testing.assert_allclose(found[1], expected[1], rtol=1e-4)
  leaves = jax.tree_util.tree_leaves_with_path(expected[0])
  for (path, right), left in zip(
    leaves, jax.tree.leaves(found[0]), strict=True
  ):
    left, right = np.asarray(left), np.asarray(right)
    # The last axis of a table is a row; all other arrays count as a whole.
    axis = 2 if right.ndim == 3 else None
    error = np.linalg.norm(left - right, axis=axis)
    size = np.linalg.norm(right, axis=axis)
    assert np.all(error <= 1e-4 * size), (path, np.max(error / size))
    worst, largest = np.abs(left - right).max(), np.abs(right).max()
    assert worst <= 1e-3 * largest, (path, worst, largest)


def with_capacity(x, capacity: int):
  """The experiment with less room a round than its batches need."""

  def smaller(way: route.Route) -> route.Route:
    assert way.capacity > capacity
    return dataclasses.replace(way, capacity=capacity, spill=2)

  program = dataclasses.replace(
    x.program,
    id_route=smaller(x.program.id_route),
    image_route=smaller(x.program.image_route),
  )
  return dataclasses.replace(x, program=program)


@pytest.mark.parametrize(("worker", "server"), MESHES)
def test_mesh_does_not_change_the_run(worker, server):
  x = toy.build(worker, server)
  found = toy.run(x, STEPS)
  assert_same_run(found, one_device())
  assert found[1][-1] < found[1][0]  # It learned something at all.
  mesh = x.program.mesh
  for array, spec in (
    (found[0].ids, mesh_lib.BATCH),
    (x.content.table, mesh_lib.CONTENT),
  ):
    expected = jax.sharding.NamedSharding(mesh, spec)
    assert array.sharding.is_equivalent_to(expected, array.ndim)


@pytest.mark.parametrize(
  ("kind", "owners"), [("one owner", 1), ("idle owners", 4), ("one id", 4)]
)
def test_reordered_data_load_few_owners(kind, owners):
  """What the tests below rely on."""
  x = toy.build(1, 8, data=toy.reordered(kind))
  batch = batch_lib.build(x.data.train, x.order(0), x.layout, num_devices=8)
  for rows in (batch.id_rows, batch.image_rows):
    serving = table.owner_of(rows[rows != route.EMPTY], 8)
    assert 0 < len(np.unique(serving)) <= owners


@pytest.mark.parametrize(("worker", "server"), [(1, 8), (2, 4)])
@pytest.mark.slow
def test_overflow_takes_rounds_and_changes_nothing(worker, server):
  x = with_capacity(toy.build(worker, server), 2)
  assert_same_run(toy.run(x, STEPS), one_device())


def test_step_with_several_rounds_counts_once():
  """Adam's correction and the schedule both go by the number of steps."""
  adam = {
    "sparse_optimizer__name": "adam",
    "sparse_optimizer__decay_rate": 0.5,
    "sparse_optimizer__decay_steps": 2,
  }
  x = with_capacity(toy.build(1, 2, **adam), 16)
  batch = next(x.batches(0, 1))
  assert route.rounds(x.program.id_route, np.asarray(batch.id_rows)) > 2
  found = toy.run(x, 5)
  assert_same_run(found, toy.run(toy.build(1, 1, **adam), 5))


@pytest.mark.slow
def test_overflow_encodes_pixels_anew():
  pixels = with_capacity(toy.build(1, 2, image__mode="pixels"), 4)
  assert_same_run(toy.run(pixels, 5), toy.run(toy.build(1, 2), 5))


@pytest.mark.parametrize("kind", ["one owner", "idle owners", "one id"])
@pytest.mark.parametrize(("worker", "server"), [(1, 8), (2, 4)])
@pytest.mark.slow
def test_skewed_rows_do_not_change_the_run(kind, worker, server):
  x = toy.build(worker, server, data=toy.reordered(kind))
  assert_same_run(toy.run(x, STEPS), one_device(kind))


@pytest.mark.slow
def test_pixels_give_the_trajectory_of_features():
  x = toy.build(1, 2, image__mode="pixels")
  assert x.content.table.dtype == np.uint8
  pixels = toy.run(x, 10)
  features = toy.run(toy.build(1, 2), 10)
  assert_same_run(pixels, features)


@pytest.mark.slow
def test_adam_with_decay_agrees_across_meshes():
  adam = {
    "sparse_optimizer__name": "adam",
    "sparse_optimizer__learning_rate": 0.001,
    "dense_optimizer__name": "adam",
    "dense_optimizer__decay_rate": 0.9,
    "dense_optimizer__decay_steps": 10,
  }
  found = toy.run(toy.build(1, 8, **adam), 10)
  assert_same_run(found, toy.run(toy.build(1, 1, **adam), 10))


@pytest.mark.slow
@pytest.mark.parametrize("images", ["none", "ad", "behaviour"])
def test_fewer_images_train_on_a_mesh(images):
  options = {"model__images": images}
  found = toy.run(toy.build(2, 2, **options), 5)
  assert_same_run(found, toy.run(toy.build(1, 1, **options), 5))


def test_step_donates_its_state():
  x = toy.build(1, 1)
  step = train.make_train_step(x.program, x.state)
  batch = next(x.batches(0, 1))
  state = jax.tree.map(lambda leaf: leaf.copy(), x.state)
  step(state, x.content, batch)
  assert state.ids.is_deleted()


def test_route_of_no_images_has_room():
  """Arrays of no size are none that a step could be compiled for."""
  route = toy.build(1, 2, model__images="none").program.image_route
  assert (route.capacity, route.spill) == (1, 1)
