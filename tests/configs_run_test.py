"""Every file of configs/ runs at toy size, and says how it is run."""

import ast
import dataclasses
import pathlib

import jax
import numpy as np
import pytest

from dicm_jax import checkpoint, experiment, train
from dicm_jax import config as config_lib
from dicm_jax.model import config as model_config
from tests import toy

CONFIGS = sorted(pathlib.Path(__file__).parents[1].glob("configs/*.py"))
TWO = {"worker": 1, "server": 2}


def head_of(model: model_config.ModelConfig) -> int:
  """Width of the frozen head: plain squares have few principal components."""
  return model.frozen_width if model.stored else min(model.frozen_width, 6)


def toy_sized(config: config_lib.Config) -> config_lib.Config:
  """The config on 64 samples of the toy data at a time."""

  def changed(section, **values):
    return dataclasses.replace(section, **values)

  fields = ("ad_id",) if config.train.id_dropout_fields else ()
  start = min(config.sparse_optimizer.start_step, 1)
  return changed(
    config,
    mesh=changed(config.mesh, **TWO),
    train=changed(
      config.train, steps=3, batch_size=64, id_dropout_fields=fields
    ),
    image=changed(config.image, backbone="squeezenet", chunk=8),
    model=changed(config.model, frozen_width=head_of(config.model)),
    sparse_optimizer=changed(config.sparse_optimizer, start_step=start),
  )


def equal(a, b) -> bool:
  """Whether two states have the same bits."""
  leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  return all(np.array_equal(x, y) for x, y in leaves)


# configs/pairwise.py is of another task: tests/pairwise/task_test.py runs it.
@pytest.mark.slow
@pytest.mark.parametrize(
  "path",
  [path for path in CONFIGS if path.stem != "pairwise"],
  ids=lambda path: path.stem,
)
def test_run_goes_on_from_its_checkpoint_with_the_same_bits(path, tmp_path):
  x = experiment.build(
    toy_sized(toy.load_config(path.stem)),
    data=toy.dataset(),
    devices=jax.devices()[:2],
  )
  first, second, third = x.batches(0, 3)
  step = train.make_train_step(x.program, x.state)
  state = jax.tree.map(lambda leaf: leaf.copy(), x.state)  # It is donated.
  for batch in (first, second):
    state, _ = step(state, x.content, batch)
  with checkpoint.manager(tmp_path) as saved:
    checkpoint.save(saved, 2, state, {})
  restored, _ = checkpoint.restore(tmp_path, x.state, x.inputs)
  assert equal(restored, state)
  assert not equal(restored, x.state)
  end, loss = step(state, x.content, third)
  end_again, loss_again = step(restored, x.content, third)
  assert np.isfinite(loss)
  assert loss == loss_again
  assert equal(end, end_again)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_docstring_has_the_files_own_command(path):
  words = (ast.get_docstring(ast.parse(path.read_text())) or "").split()
  assert "dicm_jax.main" in words
  assert f"--config=configs/{path.name}" in words
