"""A step that asks for the next batch's rows learns what any step does."""

import functools
import itertools
import json

import jax
import numpy as np
import pytest

from dicm_jax import ahead, capacity, loop
from tests import toy
from tests.windows_test import same_bits

STEPS = 8
PIXELS = {"image__mode": "pixels", "image__chunk": 4}


@functools.cache
def plainly(**options):
  return toy.run(toy.build(**options), STEPS)


def run_ahead(x, steps=STEPS):
  step = ahead.Steps(x.program, x.state, x.content)
  state, losses = jax.tree.map(lambda leaf: leaf.copy(), x.state), []
  for pair in ahead.pairs(x.batches(0, steps)):
    state, loss = step(state, pair)
    losses.append(float(loss))
  return state, np.array(losses)


@pytest.mark.parametrize("mode", [{}, PIXELS], ids=["features", "pixels"])
@pytest.mark.parametrize(
  "mesh", [(1, 1), pytest.param((2, 4), marks=pytest.mark.slow)], ids=str
)
def test_the_bits_are_the_same(mode, mesh):
  options = mode | {"worker": mesh[0], "server": mesh[1]}
  assert same_bits(run_ahead(toy.build(**options)), plainly(**options))


@pytest.mark.parametrize("mode", [{}, PIXELS], ids=["features", "pixels"])
def test_content_that_batches_bring_is_asked_for_in_its_own_batch(mode):
  x = toy.build(image__tier="host", **mode)
  assert same_bits(run_ahead(x), plainly(**mode))


@pytest.mark.slow
def test_rounds_after_the_first_are_made_in_the_step(monkeypatch):
  routes = capacity.routes
  monkeypatch.setattr(
    capacity, "routes", lambda *asked, **more: routes(2, 2, *asked[2:], **more)
  )
  x = toy.build(1, 4, **PIXELS)
  assert x.program.image_route.capacity == 2
  assert same_bits(run_ahead(x), toy.run(x, STEPS))


def test_a_batch_that_was_not_announced_is_asked_for():
  x = toy.build()
  step = ahead.Steps(x.program, x.state, x.content)
  state, losses = jax.tree.map(lambda leaf: leaf.copy(), x.state), []
  for batch, other in itertools.pairwise(x.batches(0, 5)):
    wrong = batch if len(losses) % 2 else other
    state, loss = step(state, (batch, wrong))
    losses.append(float(loss))
  assert np.array_equal(losses, plainly()[1][:4])


def test_a_batch_is_known_by_its_rows_and_asked_for_once():
  x = toy.build()
  steps = ahead.Steps(x.program, x.state, x.content)
  ask, asked = steps._ask, []
  steps._ask = lambda *given: asked.append(1) or ask(*given)
  state = jax.tree.map(lambda leaf: leaf.copy(), x.state)
  for pair in ahead.pairs(x.batches(0, 4)):
    state, _ = steps(state, tuple(b._replace(content=None) for b in pair))
  assert len(asked) == 1


def test_each_batch_comes_with_the_next():
  assert [*ahead.pairs(iter("abc"))] == [("a", "b"), ("b", "c"), ("c", "c")]
  assert [*ahead.pairs(iter(""))] == []


@pytest.mark.parametrize("steps", [7, 10])
def test_a_run_is_the_same_and_goes_on_the_same(tmp_path, monkeypatch, steps):
  toy.small_runs(monkeypatch)
  given = {"checkpoint__every_steps": 7, "train__log_every_steps": 1}
  plain = toy.values(train__steps=10, **given)
  loop.train_and_evaluate(plain, tmp_path / "plain")
  for upto in (steps, 10):
    config = toy.values(train__ahead=True, train__steps=upto, **given)
    loop.train_and_evaluate(config, tmp_path / "ahead")
  assert losses_of(tmp_path / "ahead") == losses_of(tmp_path / "plain")


def losses_of(workdir) -> list[float]:
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  found = [json.loads(line) for line in lines]
  assert [line["step"] for line in found] == list(range(1, 11))
  return [line["loss"] for line in found]
