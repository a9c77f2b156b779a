"""Encoder files: what comes back, and what is refused."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from safetensors import numpy as arrays

from dicm_jax import errors
from dicm_jax.model import backbone, encoder_file, encoders, text_cnn

CONFIG = encoders.EncoderConfig(
  name="small_inception", width=5, image_size=16, last="max"
)


def params():
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda leaf: rng.random(leaf.shape, np.float32),
    encoder_file.params_of(CONFIG),
  )


@pytest.fixture
def file(tmp_path):
  encoder_file.write(tmp_path / encoder_file.NAME, CONFIG, params())
  return tmp_path / encoder_file.NAME


def test_folder_and_file_give_back_what_was_written(file):
  for path in (file, file.parent):
    config, read = encoder_file.read(path)
    assert config == CONFIG
    jax.tree.map(np.testing.assert_array_equal, read, params())
  assert [p.name for p in file.parent.iterdir()] == [encoder_file.NAME]


def test_encoder_of_queries_comes_back_with_its_words(tmp_path):
  kind = encoder_file.QUERIES
  config = encoders.QueryConfig(
    width=3, text=text_cnn.TextConfig(length=4, buckets=20)
  )
  rng = np.random.default_rng(0)
  made = jax.tree.map(
    lambda leaf: rng.random(leaf.shape, np.float32),
    encoder_file.params_of(config, kind),
  )
  encoder_file.write(tmp_path / kind.file, config, made, kind)
  found, read = encoder_file.read(tmp_path, kind)
  assert found == config
  jax.tree.map(np.testing.assert_array_equal, read, made)
  # Neither kind is taken for the other.
  refused(tmp_path / kind.file, "as 'encoder', found None")
  tensors = arrays.load_file(tmp_path / kind.file)
  wrong = {"width": 3, "text": {"length": 0, "buckets": 20}}
  for values, says in ((wrong, "length: expected >= 1"), ({}, "'text'")):
    meta = {kind.entry: json.dumps(values)}
    arrays.save_file(tensors, tmp_path / kind.file, metadata=meta)
    with pytest.raises(errors.InputError, match=says):
      encoder_file.read(tmp_path, kind)


def refused(path, *says):
  with pytest.raises(errors.InputError) as caught:
    encoder_file.read(path)
  for part in (str(path), *says):
    assert part in str(caught.value)


def test_missing_and_damaged_files_are_refused(file, tmp_path):
  refused(tmp_path / "none.safetensors", "no such file")
  file.write_bytes(file.read_bytes()[:-10])
  refused(file, "damaged file")
  file.write_bytes(b"")
  refused(file, "damaged file")


def test_file_of_something_else_is_refused(file):
  tensors = arrays.load_file(file)
  arrays.save_file(tensors, file)
  refused(file, "metadata", "None")
  arrays.save_file(tensors, file, metadata={"encoder": '{"name": "x"}'})
  refused(file, "metadata", "missing")


@pytest.mark.parametrize("damage", ["missing", "shape", "nan"])
def test_wrong_tensor_is_named(file, damage):
  config, _ = encoder_file.read(file)
  tensors = arrays.load_file(file)
  if damage == "missing":
    del tensors["head.bias"]
  elif damage == "shape":
    tensors["head.bias"] = np.zeros(3, np.float32)
  else:
    tensors["head.bias"][2] = np.nan
  meta = {"encoder": json.dumps(dataclasses.asdict(CONFIG))}
  arrays.save_file(tensors, file, metadata=meta)
  refused(file, "tensor 'head.bias'", "[5]")
  assert config == CONFIG


@pytest.mark.parametrize(
  ("given", "says"),
  [({"cut": "fc6"}, "expected ''"), ({}, "expected its file or the folder")],
)
def test_backbone_refuses_what_is_no_trained_encoder(given, says):
  with pytest.raises(errors.InputError, match=says):
    backbone.make("trained", **given)
