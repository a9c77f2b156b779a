"""The cache of frozen features: computed once, resumed, never stale."""

import hashlib
import io

from absl import logging
import jax
import numpy as np
from PIL import Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dicm_jax import errors, features
from dicm_jax.model import backbone

BLOCK = 4
COUNT = 11  # two full blocks and one of three


@pytest.fixture(scope="module")
def net() -> backbone.Backbone:
  return backbone.make("squeezenet", weights="random", image_size=32)


@pytest.fixture(scope="module")
def data() -> list[bytes]:
  rng = np.random.default_rng(0)
  found = []
  for _ in range(COUNT):
    out = io.BytesIO()
    pixels = rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "PNG")
    found.append(out.getvalue())
  return found


class Computed:
  """Counts the blocks that are decoded, and so not read from a file."""

  def __init__(self, monkeypatch):
    self.blocks = 0
    decode_all = features.images_lib.decode_all

    def count(*args, **kwargs):
      self.blocks += 1
      return decode_all(*args, **kwargs)

    monkeypatch.setattr(features.images_lib, "decode_all", count)


def _run(data, net, folder, on_progress=None):
  names = [f"{i}.png" for i in range(len(data))]
  return features.frozen_features(
    data, names, net, cache_dir=folder, block=BLOCK, on_progress=on_progress
  )


def test_features_are_those_of_the_backbone(tmp_path, data, net):
  done = []
  found = _run(data, net, tmp_path, lambda *a: done.append(a))
  pixels = features.images_lib.decode_all(data, [""] * COUNT, net.image_size)
  expected = jax.jit(net.apply)(net.params, pixels)
  assert found.dtype == np.float32
  # Another batch size may sum in another order.
  np.testing.assert_allclose(
    found, expected, rtol=1e-5, atol=1e-5 * float(np.max(expected))
  )
  assert done == [(0, 11), (4, 11), (8, 11), (11, 11)]


def test_second_run_computes_nothing(tmp_path, data, net, monkeypatch):
  first = _run(data, net, tmp_path)
  computed = Computed(monkeypatch)
  np.testing.assert_array_equal(_run(data, net, tmp_path), first)
  assert computed.blocks == 0


def test_killed_run_goes_on_where_it_was(tmp_path, data, net, monkeypatch):
  whole = _run(data, net, tmp_path / "whole")

  def kill(done, total):
    if done == 2 * BLOCK:
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    _run(data, net, tmp_path / "cut", kill)
  computed = Computed(monkeypatch)
  np.testing.assert_array_equal(_run(data, net, tmp_path / "cut"), whole)
  assert computed.blocks == 1


def files_of(folder):
  return sorted(folder.rglob("*.parquet"))


DAMAGE = {
  "empty": lambda path: path.write_bytes(b""),
  "cut": lambda path: path.write_bytes(path.read_bytes()[:-8]),
  "other columns": lambda path: pq.write_table(pa.table({"a": [1]}), path),
  "nan": lambda path: replace(path, np.full((BLOCK, 512), np.nan, np.float32)),
  "other type": lambda path: replace(path, np.zeros((BLOCK, 512))),
  "other width": lambda path: replace(path, np.zeros((BLOCK, 8), np.float32)),
}


def replace(path, features):
  """Writes other features under the same keys."""
  keys = pq.read_table(path)["key"]
  flat = pa.array(features.reshape(-1))
  column = pa.FixedSizeListArray.from_arrays(flat, features.shape[1])
  pq.write_table(pa.table({"key": keys, "features": column}), path)


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_block_is_computed_again(
  tmp_path, data, net, monkeypatch, damage
):
  first = _run(data, net, tmp_path)
  warnings = []
  monkeypatch.setattr(logging, "warning", lambda m, *a: warnings.append(m % a))
  computed = Computed(monkeypatch)
  rows = [pq.ParquetFile(p).metadata.num_rows for p in files_of(tmp_path)]
  path = files_of(tmp_path)[rows.index(BLOCK)]
  DAMAGE[damage](path)
  np.testing.assert_array_equal(_run(data, net, tmp_path), first)
  assert computed.blocks == 1
  assert len(warnings) == 1
  assert str(path) in warnings[0]


def test_only_new_pictures_are_encoded(tmp_path, data, net, monkeypatch):
  whole = _run(data, net, tmp_path / "whole")
  _run(data[3:8], net, tmp_path / "part")
  computed = []
  decode_all = features.images_lib.decode_all
  monkeypatch.setattr(
    features.images_lib,
    "decode_all",
    lambda pictures, *a: computed.extend(pictures) or decode_all(pictures, *a),
  )
  found = _run(data, net, tmp_path / "part")
  assert computed == [*data[:3], *data[8:]]
  # The bits depend on the picture alone, not on its neighbours in a block.
  np.testing.assert_array_equal(found, whole)


def test_equal_pictures_are_encoded_once(tmp_path, data, net):
  done = []
  twice = [*data[:3], *data[:3]]
  found = _run(twice, net, tmp_path, lambda *a: done.append(a))
  np.testing.assert_array_equal(found[:3], found[3:])
  (path,) = files_of(tmp_path)
  assert pq.ParquetFile(path).metadata.num_rows == 3


def test_other_weights_or_sizes_have_other_folders(tmp_path, data, net):
  _run(data[:BLOCK], net, tmp_path)
  for seed, size in ((1, 32), (0, 40)):
    other = backbone.make(
      "squeezenet", weights="random", seed=seed, image_size=size
    )
    _run(data[:BLOCK], other, tmp_path)
  assert len(list(tmp_path.iterdir())) == 3


def test_the_store_is_plain_parquet(tmp_path, data, net):
  found = _run(data[:2], net, tmp_path)
  (path,) = files_of(tmp_path)
  table = pq.read_table(path).to_pydict()
  assert table["key"] == [hashlib.sha256(d).digest() for d in data[:2]]
  np.testing.assert_array_equal(np.array(table["features"], "f4"), found)


def test_wrong_picture_is_named_and_leaves_no_file(tmp_path, data, net):
  with pytest.raises(errors.InputError, match=r"^2\.png:"):
    _run([*data[:2], b"wrong"], net, tmp_path)
  assert files_of(tmp_path) == []


def test_cache_folder_that_cannot_be_made(tmp_path, data, net):
  (tmp_path / "file").write_text("precious")
  folder = tmp_path / "file" / "cache"
  with pytest.raises(errors.InputError) as caught:
    _run(data[:1], net, folder)
  message = str(caught.value)
  assert message.startswith(f"{folder}")
  assert "cannot be written: Not a directory; set XDG_CACHE_HOME" in message


def test_cache_that_cannot_be_written(tmp_path, data, net, monkeypatch):
  def fail(*_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(features.feature_store.files, "write_parquet", fail)
  with pytest.raises(errors.InputError, match="written: No space left on devi"):
    _run(data[:1], net, tmp_path)


def test_no_pictures(tmp_path, net):
  assert _run([], net, tmp_path).shape == (0, 512)
