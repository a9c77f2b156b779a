"""A run starts from another one: exactly, once, or not at all."""

import dataclasses
import functools
import shutil

import jax
import numpy as np
import pytest

from dicm_jax import (
  checkpoint,
  errors,
  experiment,
  fingerprint,
  loop,
  saved,
  warm_up,
)
from dicm_jax import workdir as workdir_lib
from dicm_jax.sharding import table
from tests import toy

TOMORROW = toy.dataset(1)  # The same fields over other clicks and pictures.


def config_of(folder, mode="partial", **overrides):
  return toy.values(
    warm_up__mode=mode, warm_up__workdir=str(folder), **overrides
  )


@functools.cache
def tomorrow(worker=1, server=1):
  """The run that is to start, not to be trained here."""
  return toy.build(worker, server, data=TOMORROW, seed=1)


def with_features(change):
  """The same with other ID fields in its data."""
  features = tuple(change(f) for f in TOMORROW.features)
  data = dataclasses.replace(TOMORROW, features=features)
  return dataclasses.replace(tomorrow(), data=data)


def start(folder, x, mode="partial", **overrides):
  return warm_up.start(config_of(folder, mode, **overrides), x).state


def save(folder, x, state, step, **overrides):
  meaning = warm_up.meaning(toy.values(**overrides), x)
  with checkpoint.manager(folder, keep=5) as opened:
    checkpoint.save(opened, step, state, {"meaning": meaning})


@pytest.fixture(scope="module")
def yesterday(tmp_path_factory):
  """Folder and last state of a run on one device."""
  folder = tmp_path_factory.mktemp("yesterday")
  x = toy.build()
  # As if it had been trained: no value is a first one, slots included.
  state = jax.tree.map(lambda leaf: leaf + 1, x.state)
  save(folder, x, state, 3)
  return folder, state


def refused(folder, x, mode="partial", **overrides):
  with pytest.raises(errors.InputError) as caught:
    start(folder, x, mode, **overrides)
  message = str(caught.value)
  assert message.startswith(f"warm_up.workdir: {folder}")
  return message


def assert_same(found, expected):
  leaves = jax.tree_util.tree_leaves_with_path(expected)
  for (path, right), left in zip(leaves, jax.tree.leaves(found), strict=True):
    np.testing.assert_array_equal(left, right, fingerprint.name_of(path))


def differ(one, other):
  return not np.array_equal(one, other)


@pytest.mark.parametrize("mesh", [(1, 1), (2, 4)])
def test_partial_takes_all_but_the_ids(yesterday, mesh):
  folder, old = yesterday
  x = tomorrow(*mesh)
  found = start(folder, x)
  assert_same(found.dense, old.dense)
  assert_same(found.standard, old.standard)
  for name in ("ids", "id_slots", "dense_slots", "step"):
    assert_same(getattr(found, name), getattr(x.state, name))
  # What is compared does differ between the two days.
  assert differ(old.ids, x.state.ids)
  assert differ(old.standard.mean, x.state.standard.mean)


@pytest.mark.parametrize("mesh", [(1, 1), (2, 4)])
def test_full_takes_the_ids_too(yesterday, mesh):
  folder, old = yesterday
  x = tomorrow(*mesh)
  found = start(folder, x, "full")
  for name in ("dense", "standard", "ids"):
    assert_same(getattr(found, name), getattr(old, name))
  for name in ("id_slots", "dense_slots", "step"):
    assert_same(getattr(found, name), getattr(x.state, name))


@pytest.mark.parametrize("mode", warm_up.PARTS)
def test_arrays_lie_on_the_mesh_of_the_new_run(yesterday, mode):
  x = tomorrow(2, 4)
  found = start(yesterday[0], x, mode)
  pairs = zip(jax.tree.leaves(found), jax.tree.leaves(x.state), strict=True)
  for left, right in pairs:
    assert left.dtype == right.dtype
    assert left.sharding.is_equivalent_to(right.sharding, right.ndim)


def test_optimisers_may_be_others(tmp_path):
  x = tomorrow()
  other = {"moment": np.ones(3, np.float32)}
  state = x.state._replace(dense_slots=other, id_slots=other)
  save(tmp_path, x, state, 3)
  assert_same(start(tmp_path, x), x.state)


def test_newest_checkpoint_is_taken(yesterday, tmp_path):
  folder = tmp_path / "run"
  shutil.copytree(yesterday[0], folder)
  x = tomorrow()
  save(folder, x, x.state, 12)
  assert_same(start(folder, x).dense, x.state.dense)


def test_mode_none_changes_nothing():
  assert warm_up.start(toy.values(), tomorrow()) is tomorrow()


@pytest.mark.parametrize(
  ("mode", "folder", "message"),
  [
    ("partial", "", "expected the folder of a run with warm_up.mode='partial'"),
    ("none", "runs/a", "expected '' with warm_up.mode='none', found 'runs/a'"),
    ("full", "runs/none", "found no checkpoints in runs/none"),
  ],
)
def test_folder_and_mode_go_together(mode, folder, message):
  with pytest.raises(errors.InputError) as caught:
    warm_up.check(config_of(folder, mode).warm_up)
  assert str(caught.value).startswith("warm_up.workdir: expected ")
  assert message in str(caught.value)


def test_other_image_features_are_refused(yesterday):
  x = dataclasses.replace(tomorrow(), encoder_digest="another")
  message = refused(yesterday[0], x)
  (line,) = message.splitlines()[1:]
  assert line.startswith("  digest of image.cut and image.weights: ")


def test_another_backbone_or_model_is_named(yesterday):
  other = {"image__backbone": "vgg16", "model__normalize": "none"}
  message = refused(yesterday[0], tomorrow(), **other)
  assert "\n  image.backbone: 'squeezenet' -> 'vgg16'" in message
  assert "\n  model.normalize: 'length' -> 'none'" in message
  assert len(message.splitlines()) == 3


@pytest.mark.parametrize(
  ("change", "line"),
  [
    ({"rows": 42}, "ID rows of ad_id: [41, ''] -> [42, '']"),
    ({"vocabulary": "ab"}, "ID rows of ad_id: [41, ''] -> [41, 'ab']"),
  ],
)
def test_other_id_rows_are_refused_by_full_alone(yesterday, change, line):
  folder, old = yesterday
  x = with_features(
    lambda f: dataclasses.replace(f, **change) if f.name == "ad_id" else f
  )
  # A row more is no slot more, so the table's shape does not tell.
  assert table.slots(x.layout.num_rows + 1) == old.ids.shape[1]
  assert_same(start(folder, x).dense, old.dense)
  assert refused(folder, x, "full").splitlines()[1:] == [f"  {line}"]


def test_other_fields_are_refused(yesterday):
  swap = {"ad_id": "position", "position": "ad_id"}
  x = with_features(
    lambda f: dataclasses.replace(f, name=swap.get(f.name, f.name))
  )
  message = refused(yesterday[0], x)
  assert message.splitlines()[1].startswith("  ID fields: ['user user_id', ")


def test_other_shape_is_named(yesterday):
  x = tomorrow()
  narrow = x.state._replace(ids=x.state.ids[:, :, :6])
  message = refused(yesterday[0], dataclasses.replace(x, state=narrow), "full")
  assert message.endswith(
    ": parameter ids: expected (256, 1, 6), found (256, 1, 12)"
  )


def test_parameter_that_one_run_alone_has_is_named(yesterday):
  x = tomorrow()
  fewer = x.state._replace(dense={"embed": x.state.dense["embed"]})
  message = refused(yesterday[0], dataclasses.replace(x, state=fewer))
  assert ": parameter dense.net." in message
  assert ": expected nothing, found (" in message


def test_damaged_checkpoint_is_named(yesterday, tmp_path):
  folder = tmp_path / "run"
  shutil.copytree(yesterday[0], folder)
  (folder / "checkpoints/3/state/_METADATA").write_text("{")
  with pytest.raises(errors.InputError) as caught:
    start(folder, tomorrow())
  assert f"checkpoint 3 of {folder} cannot be read" in str(caught.value)


def test_damaged_newest_checkpoint_is_passed_over(yesterday, tmp_path, caplog):
  folder = shutil.copytree(yesterday[0], tmp_path / "run")
  x = tomorrow()
  save(folder, x, x.state, 12)
  (folder / "checkpoints/12/state/_METADATA").write_text("{")
  assert_same(start(folder, x).dense, yesterday[1].dense)
  (line,) = (r.message for r in caplog.records if r.name == warm_up.__name__)
  assert line.startswith(f"checkpoint 12 of {folder} cannot be read: ")


class Killed(Exception):
  pass


@pytest.fixture
def train(monkeypatch):
  """Runs the whole loop on the toy data; `kill_at` stops it at a step."""
  build = functools.partial(
    experiment.build, data=TOMORROW, devices=jax.devices()[:1]
  )
  monkeypatch.setattr(experiment, "build", build)
  append = workdir_lib.append_metrics

  def run(folder, *, kill_at=0, **overrides):
    def log(path, record):
      if record["step"] == kill_at:
        raise Killed
      append(path, record)

    monkeypatch.setattr(workdir_lib, "append_metrics", log)
    values = {"train__steps": 5, "train__log_every_steps": 1, "seed": 1}
    config = toy.values(**values | overrides)
    if kill_at:
      with pytest.raises(Killed):
        loop.train_and_evaluate(config, folder)
      return None
    loop.train_and_evaluate(config, folder)
    last = saved.Saved(folder, checkpoint.steps(folder)[-1])
    return last.parts(experiment.build(config).state._asdict())

  return run


def warm(folder):
  return {"warm_up__mode": "partial", "warm_up__workdir": str(folder)}


@pytest.mark.slow
def test_killed_run_does_not_warm_up_twice(yesterday, train, tmp_path):
  source = tmp_path / "source"
  shutil.copytree(yesterday[0], source)
  options = warm(source) | {"checkpoint__every_steps": 2}
  expected = train(tmp_path / "alone", **options)
  assert expected["step"] == 5
  train(tmp_path / "killed", kill_at=4, **options)
  shutil.rmtree(source)
  found = train(tmp_path / "killed", **options)
  assert_same(found, expected)
  cold = train(tmp_path / "cold")
  assert differ(cold["standard"].mean, expected["standard"].mean)


@pytest.mark.slow
def test_run_killed_at_once_keeps_its_start(yesterday, train, tmp_path):
  source = tmp_path / "source"
  shutil.copytree(yesterday[0], source)
  expected = train(tmp_path / "alone", **warm(source))
  train(tmp_path / "killed", kill_at=1, **warm(source))
  save(
    source, tomorrow(), tomorrow().state, 4
  )  # The other run went on meanwhile.
  assert_same(train(tmp_path / "killed", **warm(source)), expected)


def test_refused_run_writes_nothing(yesterday, train, tmp_path):
  def files():
    return {p: p.stat().st_mtime_ns for p in yesterday[0].rglob("*")}

  before = files()
  with pytest.raises(errors.InputError, match=r"model\.outputs: 2 -> 1"):
    train(tmp_path / "new", **warm(yesterday[0]), model__outputs=1)
  assert not (tmp_path / "new").exists()
  assert files() == before
