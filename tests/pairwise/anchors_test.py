"""Queries as anchors: batches, gradients, meshes, restarts, files."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dicm_jax import errors, loop, query_encoder
from dicm_jax.data import images, text
from dicm_jax.model import backbone, encoder_file, encoders, pairwise
from dicm_jax.pairwise import anchors
from dicm_jax.pairwise import task as pairwise_task
from tests import toy
from tests.pairwise import runs, searches
from tests.pairwise.step_test import close


def test_batches_hold_the_words_of_the_queries_beside_two_pictures():
  batch = next(searches.build(2, pairs__shift=0).batches(0, 1))
  assert batch.pictures.shape == (2, 2, 8, 16, 16, 3)
  assert batch.tokens.shape == (2, 8, 8)
  known = text.tokens(searches.QUERIES, length=8, buckets=10000)
  data = searches.dataset()
  squares = images.decode_all(data.image_bytes, data.image_names, 16)
  row = {square.tobytes(): i for i, square in enumerate(squares)}
  lead = []
  for pictures, tokens in zip(
    np.asarray(batch.pictures), np.asarray(batch.tokens), strict=True
  ):
    for clicked, other, words in zip(*pictures, tokens, strict=True):
      (query,) = np.flatnonzero((known == words).all(axis=1))
      places = [row[picture.tobytes()] for picture in (clicked, other)]
      lead.append(np.subtract(*searches.colours()[places, query]))
  # The clicked one has more of its own query's colour, noise aside.
  assert np.mean(np.array(lead) > 0) > 0.7


def test_gradients_are_the_sums_of_the_branches():
  """Items': of clicked and other. Moments of single items tie no branches."""
  config = runs.values(pairs__anchor="query")
  kind = anchors.Query(config, searches.dataset())
  kind._items = _evaluating(kind._items)
  params = kind.params()
  rng = np.random.default_rng(0)
  batch = anchors.Batch(
    jnp.asarray(rng.integers(0, 256, (2, 4, 16, 16, 3)), jnp.uint8),
    jnp.asarray(kind.tokens(np.array([0, 1, 2, 1]))),
  )
  items = kind._items.filled
  queries = kind._queries.filled

  def by_branch(for_query, for_clicked, for_other):
    anchor = queries(for_query)(batch.tokens)
    clicked = items(for_clicked)(batch.pictures[0])
    other = items(for_other)(batch.pictures[1])
    lead = pairwise.score(anchor, clicked) - pairwise.score(anchor, other)
    return pairwise.logistic(lead).mean()

  def together(params):
    (anchor, clicked, other), _ = kind.embed(params, batch)
    lead = pairwise.score(anchor, clicked) - pairwise.score(anchor, other)
    return pairwise.logistic(lead).mean()

  found = jax.jit(jax.grad(together))(params)
  branches = jax.jit(jax.grad(by_branch, argnums=(0, 1, 2)))(
    params["queries"], params["items"], params["items"]
  )
  # Of float32 sums in another order.
  close(found["queries"], branches[0], rtol=1e-4)
  summed = jax.tree.map(jnp.add, *branches[1:])
  close(found["items"], summed, rtol=1e-4)
  assert all(
    max(float(jnp.abs(g).max()) for g in jax.tree.leaves(branch)) > 1e-3
    for branch in branches
  )


def _evaluating(net):
  """The network with its running averages in place of the batch's moments."""

  def make():
    made = net._make()
    made.eval()
    return made

  return anchors._Net(make)


@pytest.mark.parametrize("statistics", ["joint", "separate"])
def test_eight_devices_learn_what_one_learns(statistics):
  given = runs.plain_steps(statistics)
  one = runs.run(searches.build(**given), 2)
  eight = runs.run(
    searches.build(8, mesh__worker=2, mesh__server=4, **given), 2
  )
  # As with pictures as anchors: plain steps, sums in another order.
  np.testing.assert_allclose(eight[1], one[1], rtol=1e-4)
  close(eight[0].encoder, one[0].encoder, rtol=1e-3)


@pytest.fixture
def on_searches(monkeypatch):
  make = pairwise_task.make
  monkeypatch.setattr(
    pairwise_task,
    "make",
    lambda config: make(
      config, data=searches.dataset(), devices=jax.devices()[:1]
    ),
  )


def test_resumed_run_has_the_same_bits(on_searches, tmp_path):
  def run(name: str, steps: int):
    config = runs.values(pairs__anchor="query", train__steps=steps)
    return loop.train_and_evaluate(config, tmp_path / name)

  whole = run("whole", 4)
  run("cut", 2)
  assert run("cut", 4) == whole
  for kind in (encoder_file.ITEMS, encoder_file.QUERIES):
    one, other = (
      (tmp_path / name / kind.file).read_bytes() for name in ("whole", "cut")
    )
    assert one == other


def test_run_leaves_both_encoders_as_trained(tmp_path):
  task = searches.build()
  state, _ = runs.run(task, 2)
  figures = task.finish(state, tmp_path)
  config = runs.values()
  items = backbone.trained(config.encoder, state.encoder["items"])
  made = query_encoder.load(tmp_path)
  assert made.items == items.digest
  assert made.config == encoders.QueryConfig(width=6, text=config.text)
  jax.tree.map(
    np.testing.assert_array_equal, made.params, state.encoder["queries"]
  )
  # Only page views with a query are scored.
  log = searches.dataset().test
  assert figures["impressions"] == (log.query[log.group] >= 0).sum()


def test_it_learns_what_queries_mean():
  task = searches.build(
    train__steps=80, train__batch_size=32, dense_optimizer__learning_rate=0.01
  )
  state, losses = runs.run(task, 80)
  assert losses[-10:].mean() < losses[:10].mean()
  figures = task.finish(state, None)
  # By one order for all queries half of the pairs would be right.
  assert 0.75 < figures["pair_accuracy"] <= figures["bayes_pair_accuracy"] + 0.1


def test_data_without_queries_say_how_to_add_them():
  config = runs.values(pairs__anchor="query")
  with pytest.raises(errors.InputError, match=r'\[log\] query = "COLUMN"'):
    pairwise_task.make(config, data=toy.dataset(), devices=jax.devices()[:1])


def test_every_name_of_the_config_is_a_kind():
  config = runs.values()
  data = dataclasses.replace(searches.dataset())
  for make in anchors.ANCHORS.values():
    assert isinstance(make(config, data), anchors.Anchors)
