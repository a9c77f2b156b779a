"""A pairwise run from its config to the encoder's file."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dicm_jax import evaluate, loop, workdir
from dicm_jax.data import images
from dicm_jax.model import backbone, encoder_file
from dicm_jax.pairwise import task as pairwise_task
from tests import toy
from tests.pairwise import runs


@pytest.fixture
def on_toy_data(monkeypatch):
  make = pairwise_task.make
  monkeypatch.setattr(
    pairwise_task,
    "make",
    lambda config: make(config, data=toy.dataset(), devices=jax.devices()[:1]),
  )


def test_run_leaves_figures_and_an_encoder(on_toy_data, tmp_path):
  config = runs.values()
  figures = loop.train_and_evaluate(config, tmp_path / "run")
  assert json.loads((tmp_path / "run" / workdir.EVAL).read_text()) == figures
  assert figures["step"] == 4
  assert 0 <= figures["pair_accuracy"] <= 1
  assert figures["bayes_pair_accuracy"] > 0.6
  again = evaluate.evaluate_run(tmp_path / "run", "", with_slices=False)
  assert again == figures
  made = backbone.make("trained", weights=str(tmp_path / "run"))
  assert made.width == config.encoder.width
  assert made.digest != backbone.trained(config.encoder, _zeros(made)).digest


def _zeros(made: backbone.Backbone):
  return jax.tree.map(np.zeros_like, made.params)


def test_file_holds_the_encoder_that_was_trained(tmp_path):
  task = runs.build()
  state, _ = runs.run(task, 2)
  task.finish(state, tmp_path)
  read = backbone.make("trained", weights=str(tmp_path / encoder_file.NAME))
  kept = backbone.trained(runs.values().encoder, state.encoder)
  data = toy.dataset()
  pictures = jnp.asarray(
    images.decode_all(data.image_bytes[:5], data.image_names[:5], 16)
  )
  np.testing.assert_array_equal(
    read.apply(read.params, pictures), kept.apply(kept.params, pictures)
  )
  assert read.digest == kept.digest


def test_resumed_run_has_the_same_bits(on_toy_data, tmp_path):
  whole = loop.train_and_evaluate(runs.values(), tmp_path / "whole")
  loop.train_and_evaluate(runs.values(train__steps=2), tmp_path / "cut")
  resumed = loop.train_and_evaluate(runs.values(), tmp_path / "cut")
  assert resumed == whole
  files = [
    (tmp_path / name / encoder_file.NAME).read_bytes()
    for name in ("whole", "cut")
  ]
  assert files[0] == files[1]


def test_batches_hold_the_pictures_of_the_pairs():
  task = runs.build(pairs__shift=0)
  batch = next(task.batches(0, 1))
  data = toy.dataset()
  squares = images.decode_all(data.image_bytes, data.image_names, 16)
  known = {square.tobytes() for square in squares}
  shown = np.asarray(batch.pictures)
  assert shown.shape == (1, 3, 16, 16, 16, 3)
  assert {s.tobytes() for s in shown.reshape(-1, 16, 16, 3)} <= known


def test_it_learns_what_users_click():
  """Users of the toy data click what is red, whatever they clicked before."""
  task = runs.build(
    train__steps=60, train__batch_size=32, dense_optimizer__learning_rate=0.01
  )
  state, losses = runs.run(task, 60)
  assert losses[-10:].mean() < losses[:10].mean()
  assert task.finish(state, None)["pair_accuracy"] > 0.6
