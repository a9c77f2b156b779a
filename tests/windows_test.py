"""Content that lies on the host trains as content on the devices does."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from dicm_jax import errors, evaluate, windows
from dicm_jax.data import batch as batch_lib
from dicm_jax.data import feature_files, held_rows
from dicm_jax.sharding import mesh as mesh_lib
from dicm_jax.sharding import table
from tests import toy
from tests.train_test import assert_same_run

STEPS = 12
PIXELS = {"image__mode": "pixels", "image__chunk": 4}


@functools.cache
def on_device(**options):
  return toy.run(toy.build(**options), STEPS)


def same_bits(found, expected):
  assert np.array_equal(found[1], expected[1])
  pairs = zip(*map(jax.tree.leaves, (found[0], expected[0])), strict=True)
  return all(np.array_equal(a, b) for a, b in pairs)


def test_one_device_makes_the_same_bits():
  x = toy.build(image__tier="host")
  assert x.content.table is None
  assert same_bits(toy.run(x, STEPS), on_device())


@pytest.mark.parametrize(("worker", "server"), [(1, 8), (2, 4)])
def test_a_mesh_makes_the_same_run(worker, server):
  x = toy.build(worker, server, image__tier="host")
  assert_same_run(toy.run(x, STEPS), on_device())


def test_pixels_from_a_file_make_the_same_bits(tmp_path, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  x = toy.build(image__tier="file", **PIXELS)
  assert isinstance(x.held.values, np.memmap)
  assert x.held.values.dtype == np.uint8
  assert same_bits(toy.run(x, STEPS), on_device(**PIXELS))


def test_titles_on_the_host_make_the_same_bits():
  options = {"image__mode": "titles", "image__backbone": "text_cnn"}
  names = toy.dataset().image_names
  data = dataclasses.replace(toy.dataset(), titles=names)
  made = toy.run(toy.build(data=data, image__tier="host", **options), STEPS)
  assert same_bits(made, toy.run(toy.build(data=data, **options), STEPS))


@pytest.mark.parametrize("dtype", feature_files.quantise.DTYPES)
def test_stored_features_train_from_their_file(dtype, tmp_path):
  width, rows = 16, toy.NUM_IMAGES
  vectors = np.random.default_rng(0).normal(size=(rows, width))
  encoder = feature_files.Encoder(
    name=feature_files.PRECOMPUTED,
    digest=feature_files.PRECOMPUTED,
    width=width,
    dtype=dtype,
    notice="",
  )
  keys = toy.dataset().image_names
  feature_files.write_part(
    tmp_path, encoder, 0, keys[:30], vectors[:30].astype(np.float32)
  )
  feature_files.write_part(
    tmp_path, encoder, 1, keys[30:], vectors[30:].astype(np.float32)
  )
  feature_files.finish(tmp_path, encoder)
  data = dataclasses.replace(
    toy.dataset(),
    held=functools.partial(feature_files.held, tmp_path),
  )
  brought = {"image__backbone": "precomputed", "data": data}
  expected = toy.run(toy.build(**brought), STEPS)
  for tier in ("host", "file"):
    x = toy.build(image__tier=tier, **brought)
    assert x.held.values.dtype == dtype
    assert isinstance(x.held.values, np.memmap) == (tier == "file")
    assert same_bits(toy.run(x, STEPS), expected)


def test_predictions_are_the_same():
  x, other = toy.build(), toy.build(image__tier="host")
  expected = evaluate.predict(x, x.state, x.data.test)
  found = evaluate.predict(other, other.state, other.data.test)
  assert np.array_equal(found, expected)


def test_each_batch_brings_its_own_rows_and_no_others():
  x = toy.build(2, 4, image__tier="host")
  log, held = x.data.train, x.held
  for step, batch in enumerate(x.batches(0, 3)):
    samples = x.order(step)
    images = set(log.ad_image[samples].tolist())
    for group in np.unique(log.group[samples]):
      start, end = log.behaviour_images.offsets[group : group + 2]
      images |= set(log.behaviour_images.values[start:end].tolist())
    wanted = sorted(images)
    rows = table.from_buckets(np.asarray(batch.content), len(wanted) + 4)
    assert np.array_equal(rows[: len(wanted)], held.values[wanted])
    assert not rows[len(wanted) :].any()
    assert np.asarray(batch.image_rows).max() < len(wanted)


def test_what_a_device_holds_does_not_grow_with_the_table():
  made = []
  for rows in (100, 10_000):
    held = held_rows.HeldRows(np.ones((rows, 3), np.float32))
    wanted = np.array([5, 99, 7, batch_lib.EMPTY], np.int32)
    mesh = mesh_lib.make_mesh(1, 8)
    made.append(windows.put(mesh, held, wanted))
  assert made[0].shape == made[1].shape == (table.BUCKETS, 1, 3)


def test_features_that_nobody_stored_are_named():
  with pytest.raises(errors.InputError, match=r"image\.tier='file'.*backbone"):
    toy.build(image__tier="file")


def test_rows_in_a_file_come_back_as_they_were(tmp_path):
  rows = np.arange(60, dtype=np.float16).reshape(20, 3)
  held_rows.write(
    tmp_path / "rows.npy", iter([rows[:7], rows[7:]]), (20, 3), rows.dtype
  )
  mapped = held_rows.mapped(tmp_path / "rows.npy", (20, 3), rows.dtype)
  found = held_rows.HeldRows(mapped)
  taken = found.take(np.array([3, 19, 3]))
  assert taken.dtype == found.dtype == np.float32
  assert taken.tolist() == rows[[3, 19, 3]].tolist()
  with pytest.raises(ValueError, match="expected 21 rows, found 20"):
    held_rows.write(tmp_path / "no.npy", iter([rows]), (21, 3), rows.dtype)
  assert [f.name for f in tmp_path.iterdir()] == ["rows.npy"]
