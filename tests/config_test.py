"""Configs are checked at the border, and say which key is wrong."""

import copy
import dataclasses
import importlib.util
import json
import math
import pathlib
import re

import pytest

from dicm_jax import any_config, config_tree, errors
from dicm_jax import config as config_lib
from tests import toy

CONFIGS = sorted(pathlib.Path(__file__).parents[1].glob("configs/*.py"))
BASE = json.loads(config_tree.to_json(toy.values()))
# A value other than the toy's for each key; a model has one name only.
OTHER = {
  "seed": 1,
  "data.path": "elsewhere",
  "mesh.worker": 2,
  "mesh.server": 4,
  "train.steps": 31,
  "train.batch_size": 128,
  "train.log_every_steps": 5,
  "train.exchange": "ragged",
  "train.ahead": True,
  "train.id_dropout": 0.25,
  "train.id_dropout_fields": ("ad_id",),
  "warm_up.mode": "partial",
  "warm_up.workdir": "runs/yesterday",
  "image.backbone": "vgg16",
  "image.cut": "fc7",
  "image.weights": "random",
  "image.mode": "pixels",
  "image.chunk": 4,
  "image.dtype": "bfloat16",
  "image.tier": "host",
  "text.length": 5,
  "text.buckets": 60,
  "model.images": "ad",
  "model.aggregator": "sum",
  "model.normalize": "softmax",
  "model.id_width": 6,
  "model.image_widths": (16, 6),
  "model.frozen_head": "stored",
  "model.frozen_width": 8,
  "model.image_nets": "separate",
  "model.hidden_widths": (20, 9),
  "model.outputs": 1,
  "model.activation": "relu",
  "model.output_activation": "relu",
  "model.structure": "dnn",
  "model.training": "apart",
  "sparse_optimizer.name": "sgd",
  "sparse_optimizer.learning_rate": 0.06,
  "sparse_optimizer.decay_rate": 0.5,
  "sparse_optimizer.decay_steps": 7,
  "sparse_optimizer.clip_norm": 0.1,
  "sparse_optimizer.l1": 0.1,
  "sparse_optimizer.l2": 0.1,
  "sparse_optimizer.adaptive_l2": 0.1,
  "sparse_optimizer.start_step": 3,
  "sparse_optimizer.tier": "host",
  "dense_optimizer.name": "adam",
  "dense_optimizer.learning_rate": 0.06,
  "dense_optimizer.decay_rate": 0.5,
  "dense_optimizer.decay_steps": 7,
  "dense_optimizer.clip_norm": 0.1,
  "dense_optimizer.l2": 0.1,
  "dense_optimizer.momentum": 0.9,
  "dense_optimizer.epsilon": 0.1,
  "checkpoint.every_steps": 1,
  "checkpoint.keep": 1,
}
# Where a run lies and what it reports on the way change nothing it learns.
WITHOUT_EFFECT = (
  "mesh.worker",
  "mesh.server",
  "image.tier",
  "train.ahead",
  "train.exchange",
  "sparse_optimizer.tier",
  "train.log_every_steps",
  "checkpoint.every_steps",
  "checkpoint.keep",
)


def section_of(tree, key):
  """The section that a dotted key lies in, and its name there."""
  *path, last = key.split(".")
  for name in path:
    tree = tree[name]
  return tree, last


def changed(key, value):
  tree = copy.deepcopy(BASE)
  section, last = section_of(tree, key)
  section[last] = value
  return config_lib.from_dict(tree)


def error_of(key, value):
  with pytest.raises(errors.InputError) as caught:
    changed(key, value)
  return str(caught.value)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_file_makes_a_config(path):
  spec = importlib.util.spec_from_file_location("config_file", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  values = module.get_config()
  assert values.is_locked
  config = any_config.from_dict(values.to_dict())
  assert json.loads(config_tree.to_json(config)) == json.loads(values.to_json())


def test_there_are_few_keys_and_all_are_tried_here():
  keys = set(config_tree.flatten(toy.values()))
  assert len(keys) <= 58
  assert keys == {*OTHER, "model.name"}


@pytest.mark.parametrize("key", OTHER)
def test_json_keeps_every_value_and_its_type(key):
  config = changed(key, OTHER[key])
  again = config_lib.from_dict(json.loads(config_tree.to_json(config)))
  assert again == config
  assert hash(again) == hash(config)
  found = config_tree.flatten(again)[key]
  assert found == OTHER[key]
  assert type(found) is type(OTHER[key])


def test_tuples_survive_json():
  config = toy.values(model__image_widths=(3, 2), model__hidden_widths=())
  again = config_lib.from_dict(json.loads(config_tree.to_json(config)))
  assert again.model.image_widths == (3, 2)
  assert again.model.hidden_widths == ()


def test_integer_is_fine_where_a_float_is_expected():
  one, other = (changed("dense_optimizer.decay_rate", v) for v in (1, 1.0))
  assert config_tree.to_json(one) == config_tree.to_json(other)


@pytest.mark.parametrize(
  "key, nearest",
  [
    ("sed", "seed"),
    ("train.stpes", "train.steps"),
    ("train.batchsize", "train.batch_size"),
    ("sparse_optimizer.lerning_rate", "sparse_optimizer.learning_rate"),
    ("data.pth", "data.path"),
    ("dense_optimizer.nme", "dense_optimizer.name"),
  ],
)
def test_unknown_key_names_the_nearest(key, nearest):
  message = error_of(key, 1)
  assert message.startswith(f"unknown config key {key!r}; did you mean")
  assert f"did you mean {nearest!r}?" in message


def test_unknown_section_is_an_unknown_key():
  assert "unknown config key 'modle'" in error_of("modle", {"name": "dicm"})


@pytest.mark.parametrize("key", ["seed", "train", "train.steps", "model.name"])
def test_missing_key_is_named(key):
  tree = copy.deepcopy(BASE)
  section, last = section_of(tree, key)
  del section[last]
  with pytest.raises(errors.InputError, match=f"key {key} is missing$"):
    config_lib.from_dict(tree)


@pytest.mark.parametrize("value", [3, None, "steps", [1]])
def test_section_that_is_none(value):
  assert error_of("train", value) == (
    f"train: expected a section, found {value!r}"
  )


@pytest.mark.parametrize(
  "key, value",
  [
    ("seed", "x"),
    ("seed", None),
    ("train.steps", "many"),
    ("train.steps", 2.5),
    ("train.steps", True),
    ("train.steps", [3]),
    ("train.id_dropout_fields", "ad_id"),
    ("train.id_dropout_fields", ["ad_id", 3]),
    ("image.mode", 3),
    ("model.aggregator", None),
    ("data.path", 1),
    ("dense_optimizer.name", 2),
    ("dense_optimizer.learning_rate", "0.1"),
    ("model.image_widths", 12),
    ("model.image_widths", "12"),
    ("model.hidden_widths", [12, "a"]),
  ],
)
def test_value_of_another_type_is_named(key, value):
  message = error_of(key, value)
  assert message.startswith(f"{key}: expected ")
  assert repr(value) in message or repr(tuple(value)) in message


@pytest.mark.parametrize(
  "key",
  [
    "train.steps",
    "train.batch_size",
    "train.log_every_steps",
    "image.chunk",
    "text.length",
    "text.buckets",
    "checkpoint.every_steps",
    "checkpoint.keep",
    "model.id_width",
  ],
)
def test_counts_begin_at_one(key):
  for value in (0, -1):
    assert error_of(key, value) == f"{key}: expected >= 1, found {value}"
  assert config_tree.flatten(changed(key, 1))[key] == 1


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")], ids=str)
def test_dropout_is_a_probability(value):
  message = error_of("train.id_dropout", value)
  assert message == f"train.id_dropout: expected 0 to 1, found {value}"


def test_seed_is_not_negative():
  assert error_of("seed", -1) == "seed: expected >= 0, found -1"
  assert changed("seed", 0).seed == 0


def test_seed_has_32_bits():
  assert changed("seed", 2**32 - 1).seed == 2**32 - 1
  assert (
    error_of("seed", 2**32) == "seed: expected <= 4294967295, found 4294967296"
  )


@pytest.mark.parametrize("key", ["train.steps", "dense_optimizer.decay_steps"])
def test_counts_have_31_bits(key):
  assert error_of(key, 2**31) == f"{key}: expected <= 2147483647, found {2**31}"


@pytest.mark.parametrize("side", ["sparse_optimizer", "dense_optimizer"])
@pytest.mark.parametrize("name", ["learning_rate", "decay_rate"])
@pytest.mark.parametrize("value", [0.0, -0.1, float("nan")], ids=str)
def test_rates_are_positive(side, name, value):
  message = error_of(f"{side}.{name}", value)
  assert message.startswith(f"{side}: ")
  assert name in message
  assert message.endswith(f"found {value}")


@pytest.mark.parametrize("side", ["sparse_optimizer", "dense_optimizer"])
@pytest.mark.parametrize("value", [0, -3])
def test_decay_steps_are_positive(side, value):
  message = error_of(f"{side}.decay_steps", value)
  assert message.startswith(f"{side}: ")
  assert "decay_steps" in message
  assert message.endswith(f"found {value}")


@pytest.mark.parametrize(
  "key",
  [
    "sparse_optimizer.clip_norm",
    "sparse_optimizer.l1",
    "sparse_optimizer.l2",
    "sparse_optimizer.adaptive_l2",
    "dense_optimizer.clip_norm",
    "dense_optimizer.l2",
    "dense_optimizer.momentum",
    "dense_optimizer.epsilon",
  ],
)
@pytest.mark.parametrize("value", [-0.1, float("nan")], ids=str)
def test_strengths_are_not_negative(key, value):
  message = error_of(key, value)
  assert f"{key.split('.')[1]} must be >= 0, found {value}" in message


def test_momentum_is_less_than_one():
  message = error_of("dense_optimizer.momentum", 1.0)
  assert message.endswith("momentum must be < 1, found 1.0")


def test_start_step_is_not_negative():
  message = error_of("sparse_optimizer.start_step", -1)
  assert "start_step must be >= 0, found -1" in message


def test_widths_are_positive_and_images_have_one_or_a_frozen_head():
  for value in ([], [0], [16, -1]):
    assert error_of("model.image_widths", value).startswith(
      "model.image_widths: expected "
    )
  made = toy.values(
    model__name="unified", model__image_widths=(), model__frozen_width=8
  ).model
  assert (made.trained_width, made.image_vector) == (0, 8)
  assert "model.hidden_widths" in error_of("model.hidden_widths", [20, 0])


@pytest.mark.parametrize(
  "key, value, nearest",
  [
    ("image.mode", "pixel", "pixels"),
    ("warm_up.mode", "partal", "partial"),
    ("model.name", "dcim", "dicm"),
    ("model.images", "behavior", "behaviour"),
    ("model.aggregator", "multi_query_attention", "multi_query_attentive"),
    ("model.normalize", "sofmax", "softmax"),
    ("model.frozen_head", "sored", "stored"),
    ("model.structure", "produkt", "product"),
    ("model.training", "join", "joint"),
    ("sparse_optimizer.tier", "hst", "host"),
  ],
)
def test_unknown_name_gives_the_nearest(key, value, nearest):
  message = error_of(key, value)
  assert message.startswith(
    f"unknown {key} {value!r}; did you mean {nearest!r}"
  )


def test_unknown_name_like_no_other_lists_the_known():
  assert error_of("image.mode", "qqq") == (
    "unknown image.mode 'qqq' (known: features, pixels, titles)"
  )


@pytest.mark.parametrize("key", OTHER)
def test_digest_is_of_what_decides_the_result(key):
  same = config_tree.digest(changed(key, OTHER[key])) == config_tree.digest(
    toy.values()
  )
  assert same == (key in WITHOUT_EFFECT)


def test_digest_is_hexadecimal_sha_256():
  assert re.fullmatch("[0-9a-f]{64}", config_tree.digest(toy.values()))


@pytest.mark.parametrize("key", OTHER)
def test_restart_may_change_the_mesh_the_length_and_reports_alone(key):
  before, now = toy.values(), changed(key, OTHER[key])
  found = config_tree.differences(now, before)
  if key in (*WITHOUT_EFFECT, "train.steps"):
    assert found == []
  else:
    old = config_tree.flatten(before)[key]
    assert found == [f"{key}: {old!r} -> {OTHER[key]!r}"]


def test_differences_are_sorted_by_key():
  now = toy.values(seed=1, data__path="x", mesh__worker=4)
  lines = config_tree.differences(now, toy.values())
  assert lines == ["data.path: '' -> 'x'", "seed: 0 -> 1"]
  assert config_tree.differences(now, now) == []


def test_configs_cannot_be_changed():
  with pytest.raises(dataclasses.FrozenInstanceError):
    toy.values().train.steps = 3


def test_what_a_checkpoint_keeps_of_a_config():
  """No path, which may be moved, and nothing that a restart may change."""
  one = toy.values(data__path="a", image__weights="b", warm_up__workdir="c")
  kept = config_tree.kept(one)
  other = toy.values(mesh__worker=2, train__steps=9, checkpoint__keep=9)
  assert kept == config_tree.kept(other)
  assert kept["model.hidden_widths"] == [20, 8]
  now = config_tree.kept(toy.values(seed=3))
  assert config_tree.changed(now, kept) == ["seed: 0 -> 3"]


@pytest.mark.parametrize(
  "key", ["dense_optimizer.learning_rate", "sparse_optimizer.clip_norm"]
)
@pytest.mark.parametrize("value", [math.inf, 10**400], ids=["inf", "10^400"])
def test_numbers_are_finite(key, value):
  assert error_of(key, value).startswith(f"{key}: expected")


def test_a_task_is_a_text():
  with pytest.raises(errors.InputError, match="unknown task"):
    any_config.from_dict({"task": ["pairwise"]})
