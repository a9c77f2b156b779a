"""Titles in place of pictures: the same table, route and step."""

import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dicm_jax import (
  checkpoint,
  content,
  errors,
  evaluate,
  loop,
  warm_up,
)
from dicm_jax.data import text
from dicm_jax.model import text_cnn
from dicm_jax.sharding import table
from tests import toy
from tests.stored_head_test import answers
from tests.train_test import assert_same_run, with_capacity

TITLES = {"image__mode": "titles", "image__backbone": "text_cnn"}
STEPS = 10


def build(worker: int = 1, server: int = 1, **options):
  return toy.build(worker, server, **(TITLES | options))


def refused(**options) -> str:
  with pytest.raises(errors.InputError) as caught:
    build(**options)
  return str(caught.value)


@pytest.mark.parametrize("nets", ["shared", "separate"])
def test_mesh_does_not_change_the_run(nets):
  found = toy.run(build(2, 4, model__image_nets=nets), STEPS)
  expected = toy.run(build(1, 1, model__image_nets=nets), STEPS)
  assert_same_run(found, expected)
  assert found[1][-1] < found[1][0]  # It learned something at all.


def test_several_rounds_change_nothing():
  few = with_capacity(build(1, 4), 2)
  assert_same_run(toy.run(few, 5), toy.run(build(), 5))


def test_owners_return_what_the_network_makes_of_the_tokens():
  x = build(1, 2)
  batch = next(x.batches(0, 1))
  found, asked = answers(x, batch), np.asarray(batch.image_rows)
  there = asked != table.EMPTY
  net = text_cnn.TextCNN(12, buckets=50, rngs=nnx.Rngs(1))
  definition, _ = nnx.split(net)
  net = nnx.merge(definition, x.state.dense["embed"])
  tokens = text.tokens(toy.dataset().titles, length=4, buckets=50)
  # Convolutions of another number of texts at a time.
  np.testing.assert_allclose(
    found[there],
    np.asarray(net(jnp.asarray(tokens)))[asked[there]],
    rtol=1e-5,
    atol=1e-6,
  )


def test_table_holds_token_numbers_as_they_are():
  x = build(2, 4)
  assert x.content.table.dtype == np.int32
  stored = table.from_buckets(np.asarray(x.content.table), toy.NUM_IMAGES)
  expected = text.tokens(toy.dataset().titles, length=4, buckets=50)
  np.testing.assert_array_equal(stored, expected)
  assert x.state.standard is None
  assert x.feature_width == 4


def test_words_that_titles_have_are_learned_and_no_others():
  x = build()
  state, _ = toy.run(x, 3)
  before = np.asarray(x.state.dense["embed"]["words"]["embedding"])
  after = np.asarray(state.dense["embed"]["words"]["embedding"])
  moved = np.flatnonzero((before != after).any(axis=1))
  tokens = text.tokens(toy.dataset().titles, length=4, buckets=50)
  assert set(moved.tolist()) == set(tokens[tokens > 0].tolist())


def test_a_restored_run_goes_on_with_the_same_bits(tmp_path):
  x = build(1, 2)
  state, _ = toy.run(x, 2)
  with checkpoint.manager(tmp_path) as saved:
    checkpoint.save(saved, 2, state, {})
  restored, _ = checkpoint.restore(tmp_path, x.state, x.inputs)
  same = jax.tree.map(np.array_equal, restored, state)
  assert all(jax.tree.leaves(same))
  other = build(2, 2)  # On another mesh as well.
  again, _ = checkpoint.restore(tmp_path, other.state, other.inputs)
  assert all(jax.tree.leaves(jax.tree.map(np.array_equal, again, state)))


def test_a_run_is_trained_and_evaluated_again(tmp_path, monkeypatch):
  toy.small_runs(monkeypatch, devices=2)
  config = toy.values(**TITLES, train__steps=12)
  said = loop.train_and_evaluate(config, tmp_path)
  assert "text CNN" in said["weights_notice"]
  again = evaluate.evaluate_run(tmp_path, "2x1", with_slices=False)
  # The rows of a batch lie on other devices: sums in another order.
  assert again["auc"] == pytest.approx(said["auc"], abs=1e-3)


def test_partial_warm_up_takes_the_words_and_no_ids(tmp_path):
  x = build()
  state = jax.tree.map(lambda leaf: leaf + 1, x.state)
  meaning = warm_up.meaning(toy.values(**TITLES), x)
  with checkpoint.manager(tmp_path) as saved:
    checkpoint.save(saved, 3, state, {"meaning": meaning})
  config = toy.values(
    warm_up__mode="partial", warm_up__workdir=str(tmp_path), **TITLES
  )
  found = warm_up.start(config, build(1, 2)).state
  same = jax.tree.map(np.array_equal, found.dense, state.dense)
  assert all(jax.tree.leaves(same))
  assert not np.array_equal(found.ids, state.ids)
  assert found.standard is None
  # Words by another hash are other words.
  fewer = dataclasses.replace(
    config, text=dataclasses.replace(config.text, buckets=49)
  )
  with pytest.raises(errors.InputError, match="digest of image"):
    warm_up.start(fewer, build(text__buckets=49))


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"image__backbone": "squeezenet"}, "image.backbone: expected 'text_cnn'"),
    ({"image__mode": "features"}, "image.mode: expected 'titles'"),
    ({"image__mode": "pixels"}, "image.mode: expected 'titles'"),
    ({"image__cut": "fc6"}, "image.cut: expected ''"),
    ({"image__weights": "random"}, "image.weights: expected ''"),
    ({"model__frozen_width": 6}, "model.frozen_width: expected 0"),
    (
      {"model__output_activation": "relu"},
      "model.output_activation: expected 'linear'",
    ),
  ],
)
def test_what_does_not_go_with_titles_is_named(options, message):
  said = refused(**options)
  assert said.startswith(message)
  found = next(iter(options.values()))
  assert said.endswith(f"where titles are the content, found {found!r}")


def test_data_without_titles_say_how_to_add_them():
  data = dataclasses.replace(toy.dataset(), titles=None)
  assert refused(data=data) == (
    "image.mode='titles': the data set holds no titles; expected one prepared "
    "with --titles=FILE, a table of key and title"
  )


@pytest.mark.parametrize("mode", ["features", "pixels"])
def test_data_with_titles_alone_have_no_pictures(mode):
  data = dataclasses.replace(toy.dataset(), image_bytes=())
  x = build(data=data)
  assert np.isfinite(toy.run(x, 2)[1]).all()
  with pytest.raises(errors.InputError) as caught:
    toy.build(data=data, image__mode=mode)
  assert str(caught.value) == (
    "image.backbone='squeezenet': the data set holds no pictures; expected "
    "'precomputed', or with image.mode='titles' 'text_cnn', whichever it holds"
  )


def test_kinds_have_digests_of_their_own():
  kinds = [
    content.kind(toy.values(**TITLES, **{f"text__{key}": value}))
    for key, value in (("length", 4), ("length", 5), ("buckets", 60))
  ]
  digests = {kind.digest for kind in kinds}
  assert len(digests) == 3
