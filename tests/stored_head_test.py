"""The frozen head that is the stored vectors: what owners return, and learn."""

import dataclasses

import jax
import numpy as np
import pytest

from dicm_jax import errors, on_mesh, owners, train
from dicm_jax import state as state_lib
from dicm_jax.sharding import ledger, table
from dicm_jax.sharding import mesh as mesh_lib
from tests import toy
from tests.train_test import assert_same_run, with_capacity

STORED = {
  "model__name": "unified",
  "model__id_width": 1,
  "model__frozen_head": "stored",
  "model__frozen_width": 512,  # All numbers of SqueezeNet's features.
  "model__image_widths": (),
}


def build(worker: int, server: int, **options):
  return toy.build(worker, server, **(STORED | options))


def answers(x, batch) -> np.ndarray:
  """What each device is given for its images."""

  def ask(program, state, content, batch):
    asked = owners.ask(program, content, batch)
    served = owners.answer(program, state, content, asked)
    return served.image_vectors[None]

  specs = state_lib.specs_of(x.state)
  asked = on_mesh.run(x.program, ask, specs, mesh_lib.BATCH)
  return np.asarray(jax.jit(asked)(x.state, x.content, batch))


def image_exchanges(x) -> set[str]:
  """Kinds of exchanges of images in the compiled step."""
  batch = next(x.batches(0, 1))
  step = train.make_train_step(x.program, x.state)
  hlo = step.lower(x.state, x.content, batch).compile().as_text() or ""
  found = ledger.collectives(hlo, num_devices=x.program.mesh.size)
  names = [c.scope.split("images.")[1:] for c in found]
  return {part.split("/")[0] for parts in names for part in parts}


def test_owners_return_the_stored_vectors_at_length_one():
  x = build(1, 2)
  rows = np.asarray(x.content.table)
  stored = table.from_buckets(rows, toy.NUM_IMAGES)
  stored[:2] = 0  # They have no direction.
  placed = mesh_lib.put(
    x.program.mesh, mesh_lib.CONTENT, table.to_buckets(stored)
  )
  x = dataclasses.replace(x, content=x.content._replace(table=placed))
  batch = next(x.batches(0, 1))
  found, asked = answers(x, batch), np.asarray(batch.image_rows)
  there = asked != table.EMPTY
  assert {0, 1} < set(asked[there])
  length = np.linalg.norm(stored, axis=1, keepdims=True)
  expected = (stored / np.where(length > 0, length, 1))[asked[there]]
  # Sums of 512 squares in another order.
  np.testing.assert_allclose(found[there], expected, rtol=1e-5, atol=1e-7)


def test_pixels_give_the_vectors_of_features():
  batches = []
  for mode in ("features", "pixels"):
    x = build(1, 2, image__mode=mode)
    batch = next(x.batches(0, 1))
    there = np.asarray(batch.image_rows) != table.EMPTY
    batches.append(answers(x, batch)[there])
  # Convolutions of another number of pictures at a time.
  np.testing.assert_allclose(*batches, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("width", [0, 64])
def test_another_width_than_that_of_the_features_is_refused(width):
  with pytest.raises(errors.InputError) as caught:
    build(1, 1, model__frozen_width=width, model__image_widths=(8,))
  assert str(caught.value) == (
    "model.frozen_width: expected 512, all numbers of an image's features, "
    f"with model.frozen_head='stored'; found {width}"
  )


def test_what_has_no_trained_layers_learns_nothing_of_images():
  x = build(2, 4)
  assert x.state.dense["embed"] == {}
  assert image_exchanges(x) == {"rows", "limits", "vectors"}
  trained = toy.build(2, 4, model__frozen_width=6)
  assert image_exchanges(trained) == {"rows", "limits", "vectors", "gradients"}


def test_stored_and_trained_vectors_travel_side_by_side():
  x = build(1, 1, model__image_widths=(8,))
  found = answers(x, next(x.batches(0, 1)))
  assert found.shape[2] == 8 + 512
  length = np.linalg.norm(found[0, :, 8:], axis=1)
  # Padding, which no image lies behind, has none; rounding of 32 bits.
  np.testing.assert_allclose(length[length > 0], 1, rtol=1e-5)


def test_without_trained_layers_several_rounds_change_nothing():
  few = with_capacity(build(1, 4), 2)
  assert_same_run(toy.run(few, 5), toy.run(build(1, 1), 5))


def test_ftrl_holds_weights_of_ids_at_exactly_zero():
  """All begin there; L1 keeps what has little to say, and no more."""
  ftrl = {"sparse_optimizer__name": "ftrl", "sparse_optimizer__l1": 0.01}
  x = build(1, 2, sparse_optimizer__learning_rate=1.0, **ftrl)
  assert not np.asarray(x.state.ids).any()
  state, _ = toy.run(x, 20)
  ids, slots = np.asarray(state.ids), state.id_slots
  touched, z = np.asarray(slots.n) > 0, np.abs(np.asarray(slots.z))
  kept = touched & (z <= 0.01)
  assert 10 < kept.sum() < touched.sum() - 10
  assert (ids[kept] == 0).all()
  assert (ids[touched & ~kept] != 0).all()


def test_simtier_reads_the_frozen_head_alone():
  """Cosines need no trained layers."""
  options = {"model__frozen_head": "whitened", "model__frozen_width": 6}
  x = build(1, 2, model__name="dicm", model__aggregator="simtier", **options)
  assert x.program.model.image_vector == 6
  assert np.isfinite(toy.run(x, 2)[1]).all()
