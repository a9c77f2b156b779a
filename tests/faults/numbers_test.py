"""Numbers out of bounds stop a run before they get into its state."""

import dataclasses

import jax
import numpy as np
import pytest

from dicm_jax import (
  checkpoint,
  errors,
  fingerprint,
  guard,
  loop,
  train,
  training,
)
from dicm_jax.data import pipeline
from dicm_jax.sharding import table
from tests import toy
from tests.pairwise import runs

BAD = 3
"""Number of the step that finds the bad number."""
HOST = {"sparse_optimizer__tier": "host"}


def slow(*values):
  return pytest.param(*values, marks=pytest.mark.slow)


def samples_of(step: int, batch_size: int = 64):
  """Training samples of a step, counted from 1."""
  log = toy.dataset().train
  return pipeline.shuffled(log, 0, batch_size)(step - 1)


def arrays(state):
  """All arrays of a state but its step number, on the host."""
  return [np.array(leaf) for leaf in jax.tree.leaves(state._replace(step=()))]


def same(found, expected) -> bool:
  return all(map(np.array_equal, found, expected))


class Ran:
  """Steps of which nobody looks at a loss before the last is made."""

  def __init__(self, x, steps: int = BAD + 2, state=None, **options):
    made = training.of(x, **options)
    state = jax.tree.map(lambda leaf: leaf.copy(), state or x.state)
    self.losses, batches = [], list(made.batches(0, steps))
    for number, batch in enumerate(batches, start=1):
      if number == BAD:
        self.before = arrays(made.at_rest(state))
      state, loss = made.step(state, batch)
      self.losses.append(loss)
    self.refused = guard.refused_at(state.step)
    self.state = made.at_rest(state)
    if self.refused:
      batch = batches[self.refused - 1]
      self.cause = made.explain(state, batch, self.refused)


def with_dense(value: float, sample: int):
  """The toy data with another number of a training sample."""
  log = toy.dataset().train
  ad_dense = log.ad_dense.copy()
  ad_dense[sample] = value
  return dataclasses.replace(
    toy.dataset(),
    train=dataclasses.replace(log, ad_dense=ad_dense),
    ad_dense_names=("price",),
  )


@pytest.mark.parametrize(
  ("mesh", "options", "asks_ahead"),
  [
    ((1, 1), {}, False),
    slow((1, 1), HOST, True),
    slow((1, 8), {}, False),
    slow((1, 1), HOST, False),
    slow((1, 1), {}, True),
    slow((2, 4), HOST, True),
    slow((2, 4), {"image__tier": "host"}, False),
  ],
)
def test_a_number_of_one_sample_stops_all_devices(mesh, options, asks_ahead):
  sample = int(samples_of(BAD)[40])
  # Behind the loader's back.
  x = toy.build(*mesh, data=with_dense(np.nan, sample), **options)
  ran = Ran(x, asks_ahead=asks_ahead)
  assert np.isfinite(ran.losses[: BAD - 1]).all()
  assert not np.isfinite(ran.losses[BAD - 1 :]).any()
  assert ran.refused == BAD
  assert same(arrays(ran.state), ran.before)
  assert ran.cause.what == "the loss is nan"
  assert ran.cause.in_data
  group = x.data.train.group[sample]
  assert ran.cause.where == (
    f"sample {sample} of the training split (page view {group}, user "
    f"{x.data.train.user[group]}): dense feature ad.price is nan"
  )


def test_features_of_an_image_are_named():
  x = toy.build(1, 2)
  image = int(x.data.train.ad_image[x.order(BAD - 1)[0]])
  places = table.rows_at(len(x.data.image_names)) == image
  bad = x.content.table.at[places].set(np.inf)
  ran = Ran(dataclasses.replace(x, content=x.content._replace(table=bad)))
  assert ran.refused and ran.refused <= BAD
  assert ran.cause.in_data
  assert f"image row {image}, '{image}.png': its features are not finite" in (
    ran.cause.where
  )


def changed(x, change):
  """The first state with other parameters of the CTR network, by name."""
  net = jax.tree_util.tree_map_with_path(
    lambda path, leaf: change(fingerprint.name_of(path), leaf),
    x.state.dense["net"],
  )
  return x.state._replace(dense=x.state.dense | {"net": net})


def blind(scale: float):
  """Makes the first layer blind, and what follows it `scale` times as steep."""

  def change(name, leaf):
    if not name.endswith("kernel") or leaf.ndim != 2:
      return leaf
    return leaf * (0 if leaf.shape[1] == 20 else scale)

  return change


def test_a_gradient_may_overflow_under_a_finite_loss():
  x = toy.build(data=with_dense(1e38, samples_of(1)[0]))
  ran = Ran(x, steps=2, state=changed(x, blind(1e3)))
  assert ran.refused == 1
  assert np.isnan(ran.losses).all()  # What is told, so that the loop stops.
  assert ran.cause.what.startswith(
    "the loss is 0.6931, but the gradient of dense.net."
  )
  assert not ran.cause.in_data
  assert ran.cause.where.startswith("the largest logit is of sample ")


def test_an_update_may_overflow_under_finite_gradients():
  x = toy.build(data=with_dense(1e25, samples_of(1)[0]))
  first = changed(x, blind(1))
  ran = Ran(x, steps=2, state=first)
  assert ran.refused == 1
  assert same(arrays(ran.state), arrays(first))
  assert "but the update of dense_slots." in ran.cause.what


def test_a_row_may_overflow_by_its_update():
  x = toy.build(
    1,
    2,
    sparse_optimizer__name="sgd",
    sparse_optimizer__learning_rate=1e38,
    sparse_optimizer__l2=1e3,
  )
  ran = Ran(x, steps=2)
  assert ran.refused == 1
  assert same(arrays(ran.state), arrays(x.state))
  assert ran.cause.what.endswith("but the update of ID rows is not finite")


def test_a_row_that_was_bad_before_is_named():
  x = toy.build()
  row = x.layout.offsets["position"] + 2
  places = table.rows_at(x.layout.num_rows) == row
  ran = Ran(x, state=x.state._replace(ids=x.state.ids.at[places].set(np.nan)))
  assert ran.cause.where == (
    "ID row 2 of feature 'position' is not finite, the only one"
  )


def test_a_parameter_that_was_bad_before_is_named():
  x = toy.build()
  bad = changed(x, lambda name, leaf: leaf * (np.nan if "bias" in name else 1))
  ran = Ran(x, state=bad)
  assert ran.refused == 1
  assert ran.cause.where.startswith("parameter dense.net.")


def test_the_guard_does_not_change_finite_numbers(monkeypatch):
  guarded = toy.run(toy.build(1, 2), 6)
  monkeypatch.setattr(train, "is_sound", lambda *_: jax.numpy.array(True))
  free = toy.run(toy.build(1, 2), 6)
  assert np.array_equal(guarded[1], free[1])
  assert same(arrays(guarded[0]), arrays(free[0]))


def temp_bytes(rows: int) -> int:
  data = toy.dataset()
  features = tuple(
    dataclasses.replace(f, rows=f.rows + rows) for f in data.features
  )
  x = toy.build(data=dataclasses.replace(data, features=features))
  step = train.make_train_step(x.program, x.state)
  made = step.lower(x.state, x.content, next(x.batches(0, 1))).compile()
  return made.memory_analysis().temp_size_in_bytes


@pytest.mark.slow
def test_the_step_holds_no_copy_of_a_table():
  assert temp_bytes(100_000) == temp_bytes(1000)


def test_a_run_says_what_happened_and_keeps_its_checkpoint(
  tmp_path, monkeypatch
):
  data = with_dense(-np.inf, samples_of(BAD, 128)[7])
  toy.small_runs(monkeypatch, data=data)
  config = toy.values(
    train__batch_size=128, checkpoint__every_steps=1, checkpoint__keep=5
  )
  with pytest.raises(errors.NonFiniteError) as caught:
    loop.train_and_evaluate(config, tmp_path)
  first, where, remedy = str(caught.value).splitlines()
  assert first == f"step {BAD}: the loss is nan, so training stopped."
  assert where.startswith("  sample ") and where.endswith("ad.price is -inf")
  assert f"the newest is of step {BAD - 1}" in remedy
  assert "Correct the data" in remedy
  assert checkpoint.steps(tmp_path) == list(range(1, BAD))
  like = toy.build(train__batch_size=128)
  found = checkpoint.restore(tmp_path, like.state, like.inputs)
  assert found and int(found[0].step) == BAD - 1
  assert np.isfinite(
    np.concatenate([a.ravel() for a in arrays(found[0])])
  ).all()


@pytest.mark.slow
def test_an_encoder_of_pairs_keeps_its_state_too():
  made = runs.build(
    2, dense_optimizer__name="sgd", dense_optimizer__learning_rate=1e30
  )
  state, before = made.state, []
  batches = list(made.batches(0, 4))
  for batch in batches:
    before.append(arrays(state))
    state, _ = made.step(state, batch)
  number = guard.refused_at(state.step)
  assert number and number > 1
  assert same(arrays(state), before[number - 1])
  cause = made.explain(state, batches[number - 1], number)
  assert cause.what == "the loss is nan"
  assert "pairs' losses are not finite" in cause.where
